// Response formats that only benchmarks ask for; the others are those of the training data (`responseFormats`).

export const onlyLetter = 'Please answer directly with only the letter of the correct option and nothing else.';

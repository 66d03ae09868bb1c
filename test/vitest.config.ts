// How tests run: two processes with one GPU device each, patience for the driver's compiler, the shader cache left on.
import { defineConfig } from 'vitest/config';
import { LongFirst } from './support/long-first.ts';
import { share } from './support/share.ts';

// The continuous integration's script counts passes and failures from this file.
const report = process.env['OPABINIA_TEST_REPORT'];

export default defineConfig({
  root: new URL('..', import.meta.url).pathname,
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    isolate: false,
    maxWorkers: 2,
    sequence: { sequencer: LongFirst },
    // A software driver compiles a kernel at its first dispatch, for up to seconds; `npm run test:all` optimizes it too, and runs beside other work.
    testTimeout: share(60_000, 600_000),
    hookTimeout: 60_000,
    reporters: report === undefined ? ['default'] : ['default', ['json', { outputFile: report }]],
  },
});

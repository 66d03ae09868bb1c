// Options that a released model, which is known by its name alone, does not read.

export const ofDirectories = ['tower', 'connectors'];
export const ofReleased = { where: 'of a released model', advice: 'name the directory of a model' };

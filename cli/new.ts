// `opabinia new my-project`: a project of five files to begin with.
import { relative } from 'node:path';
import type { Command } from 'commander';
import { newProject } from '../pipelines/new/new-project.ts';
import { say } from './output.ts';

export function addNew(program: Command): void {
  program
    .command('new')
    .description('write a project to begin with: a connector, its test, a README')
    .argument('<directory>', 'a folder that is not there yet; its name is that of the project')
    .action((directory: string) => {
      const made = newProject(directory);
      const where = relative(process.cwd(), made) || '.';
      say(`${made}\n\n  cd ${where}\n  npm install\n  npm start\n  npm test`);
    });
}

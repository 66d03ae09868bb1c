// `opabinia verify FILE…`: golden files against the public models.
import type { Command } from 'commander';
import { verify, type VerifyOptions } from '../pipelines/verify/verify.ts';
import { say } from './output.ts';

/** Adds the command to the program. Sets the exit code to 1 when anything misses its bound. */
export function addVerify(program: Command): void {
  program
    .command('verify')
    .description('check golden files against the models')
    .argument('<files...>', 'golden files (.safetensors)')
    .option('--backend <name>', 'gpu, reference or onnx', 'gpu')
    .option('--dtype <dtype>', 'f32 or f16', 'f32')
    .action(async (files: readonly string[], options: VerifyOptions) => {
      if (!(await verify(files, options, (text) => say(text)))) process.exitCode = 1;
    });
}

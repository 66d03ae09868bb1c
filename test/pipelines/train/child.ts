// A run in a process of its own, which a test kills: `node child.ts ROOT NAME`.
import { RunFolder } from '../../../pipelines/train/run/run-folder.ts';
import { trainStage } from '../../../pipelines/train/run/train-stage.ts';
import { openDevice } from '../../../runtime/device/dawn.ts';
import { mlp, mlpStage, numbered } from './mlp.ts';

const [root = '', name = ''] = process.argv.slice(2);
await trainStage({
  stage: mlpStage(),
  index: 0,
  trainable: mlp(4),
  device: await openDevice(),
  folder: new RunFolder(root, name, false),
  total: 8,
  count: 12,
  samples: numbered(0),
  stopped: () => false,
  print: (line) => console.log(line),
});
process.exit(0);

#!/usr/bin/env node
// What the package's command starts. It imports nothing by itself: an older Node gets an answer, not a syntax error.
const wanted = 24;
if (Number(process.versions.node.split('.')[0]) < wanted) {
  console.error(
    `opabinia: this is Node ${process.versions.node}, and opabinia needs Node ${wanted} or later\n  try \`npx -p node@${wanted} -p opabinia opabinia …\`, or install it from nodejs.org`,
  );
  process.exit(1);
}
await import('./opabinia.ts');

// Looks for an adapter and prints what it finds as JSON. Run as a child process: a broken driver takes its process down.
import { adapterFacts } from '../../runtime/device/dawn.ts';
import { NoAdapterError } from '../../runtime/device/failure.ts';

try {
  const facts = await adapterFacts();
  console.log(JSON.stringify(facts === undefined ? { found: 'none' } : { found: 'adapter', facts }));
} catch (error) {
  if (!(error instanceof NoAdapterError)) throw error;
  console.log(JSON.stringify({ found: 'unsupported', why: error.message }));
}

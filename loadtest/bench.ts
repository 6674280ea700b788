/** `npm run bench -- [throughput | lifecycle | speed | tokenize] [options]`: one file per benchmark. */
const benches: Record<string, () => Promise<unknown>> = {
  throughput: () => import('./throughput.ts'),
  lifecycle: () => import('./lifecycle.ts'),
  speed: () => import('./speed.ts'),
  tokenize: () => import('./tokenize.ts'),
};

const [first, ...rest] = process.argv.slice(2);
const named = first !== undefined && !first.startsWith('-');
const bench = benches[named ? first : 'throughput'];
if (bench === undefined) {
  console.error(`there is no benchmark "${first}"; there are ${Object.keys(benches).join(' and ')}`);
  process.exit(2);
}
// Each reads its own options.
if (named) process.argv = [...process.argv.slice(0, 2), ...rest];
await bench();

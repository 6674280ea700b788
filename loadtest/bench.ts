/** `npm run bench -- [speed | soak | lifecycle | tokenize | ceiling | packing] [options]`: one file per benchmark. */
const benches: Record<string, () => Promise<unknown>> = {
  speed: () => import('./speed.ts'),
  soak: () => import('./soak.ts'),
  lifecycle: () => import('./lifecycle.ts'),
  tokenize: () => import('./tokenize.ts'),
  ceiling: () => import('./ceiling.ts'),
  packing: () => import('./packing.ts'),
};

const [first, ...rest] = process.argv.slice(2);
const named = first !== undefined && !first.startsWith('-');
const bench = benches[named ? first : 'speed'];
if (bench === undefined) {
  console.error(`there is no benchmark "${first}"; there are ${Object.keys(benches).join(' and ')}`);
  process.exit(2);
}
// Each reads its own options.
if (named) process.argv = [...process.argv.slice(0, 2), ...rest];
await bench();

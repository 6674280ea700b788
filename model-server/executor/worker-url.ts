/** The program of the workers. The source runs as .ts; a build makes .js of it. */
export const workerUrl = new URL(
  import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js',
  import.meta.url,
);

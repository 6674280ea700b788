/** Questions as people ask them, which the sample documents can answer. */
export const questions = [
  'how are batches formed?',
  'which ports are used?',
  'what does the server do when its memory is short?',
  'how is a ranking fused from several searches?',
  'what happens to running requests on shutdown?',
  'how can I see whether everything is ready to work?',
  'why are texts of equal length put into the same batch?',
  'what is reranked, and how many passages are there?',
];

const passage =
  'When an instance becomes free the oldest text and those nearest to it in length make the next batch, for padding is ' +
  'what costs most on a processor without a graphics card, and a text among its equals needs none of it at all.';

/** A question that nobody has asked before, so that no cache can answer it. */
export function newQuestion(): string {
  return `${questions[Math.floor(Math.random() * questions.length)]} ${Math.floor(Math.random() * 1e9)}`;
}

/** Passages that nobody has sent before. */
export function newPassages(count: number): string[] {
  return Array.from(
    { length: count },
    (_, index) => `${passage} ${index} ${Math.floor(Math.random() * 1e9)}`,
  );
}

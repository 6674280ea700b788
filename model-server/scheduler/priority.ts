/** How urgent a call is, most urgent first; `bulk` only takes what the others leave. */
export const PRIORITIES = ['interactive', 'default', 'bulk'] as const;
export type Priority = (typeof PRIORITIES)[number];

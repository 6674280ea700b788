/** What became of a text on the way to its vector. */
export interface TextFacts {
  /** Of the whole text, special tokens included. */
  readonly tokens: number;
  /** Less than `tokens` when the text was truncated. */
  readonly tokensUsed: number;
  readonly truncated: boolean;
  /** Whether it was taken from the cache, so that nothing was computed for it. */
  readonly cached: boolean;
}

/** A text's vector and what is known of the text. Shared by all who asked for it, and never changed. */
export interface EmbeddedText extends TextFacts {
  /** `dimension` floats, of unit length if the model says so. */
  readonly vector: Float32Array;
}

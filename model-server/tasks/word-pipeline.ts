import { z } from 'zod';

const off = z.literal(false).nullish();
/** The files that decide how texts are tokenised; with white space or ideographs in them, added tokens could span words. */
const filesWith = <Shape extends z.ZodRawShape>(parts: Shape) =>
  z.object({
    tokenizer: z.object({
      ...parts,
      post_processor: z.object({ type: z.enum(['TemplateProcessing', 'BertProcessing']) }),
      added_tokens: z.array(z.object({ content: z.string().regex(/^[!-~]+$/) })),
    }),
    config: z.object({ remove_space: off, do_lowercase_and_remove_accent: off }),
  });

/** BERT and MPNet: most English and Chinese embedders. */
const bert = filesWith({
  // It takes white space for a border and puts some around each ideograph.
  normalizer: z.object({ type: z.literal('BertNormalizer'), handle_chinese_chars: z.literal(true) }),
  pre_tokenizer: z.object({ type: z.literal('BertPreTokenizer') }),
  model: z.object({
    // Older files do not name it.
    type: z.literal('WordPiece').optional(),
    continuing_subword_prefix: z.string(),
    unk_token: z.string(),
    merges: z.undefined().optional(),
    // It would make one token of the unknown words at both sides of a border.
    fuse_unk: off,
  }),
});

const precompiled = z.object({ type: z.literal('Precompiled') });

/** XLM-RoBERTa: multilingual embedders, where their files cut at white space first. */
const xlmRoberta = filesWith({
  normalizer: z.union([
    precompiled,
    z.object({ type: z.literal('Sequence'), normalizers: z.tuple([precompiled]) }),
  ]),
  pre_tokenizer: z.object({
    type: z.literal('Sequence'),
    pretokenizers: z.tuple([
      z.object({ type: z.literal('WhitespaceSplit') }),
      z.object({
        type: z.literal('Metaspace'),
        replacement: z.literal('▁'),
        str_rep: z.literal('▁').optional(),
        prepend_scheme: z.literal('always').optional(),
      }),
    ]),
  }),
  model: z.object({
    type: z.literal('Unigram').optional(),
    // Every word begins with it, so it keeps unknown characters at both sides of a border from becoming one token.
    vocab: z.custom((vocab) => Array.isArray(vocab) && vocab.some((entry) => entry?.[0] === '▁')),
  }),
});

/**
 * What surely is a border to both; and to BERT the ideographs, each of which is a word. The rest of white space is left inside
 * of words: some of it is dropped, which joins what stands at its sides.
 */
const WORDS = {
  bert: /[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^ \t\n\r\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+/g,
  xlmRoberta: /[^ \t\n\r]+/g,
};

/** A tokenizer that cuts texts into words and tokenises each by itself. */
export interface WordPipeline {
  /** Finds the words of a text. */
  word: RegExp;
  /** What stands for one token wherever it is written: [CLS] and the like. */
  addedTokens: string[];
}

/**
 * How a tokenizer cuts texts into words; undefined when it is of another kind than those that are known to, or anything about
 * it makes the tokens of a word depend on its neighbours.
 * @param tokenizer content of tokenizer.json
 * @param config content of tokenizer_config.json
 */
export function wordPipelineOf(tokenizer: object, config: object): WordPipeline | undefined {
  for (const [kind, schema] of Object.entries({ bert, xlmRoberta })) {
    const { data } = schema.safeParse({ tokenizer, config });
    if (data === undefined) continue;
    const addedTokens = data.tokenizer.added_tokens.map(({ content }) => content);
    return { word: WORDS[kind as keyof typeof WORDS], addedTokens };
  }
  return undefined;
}

import { z } from 'zod';

const off = z.literal(false).nullish();

/** The parts of tokenizer.json and tokenizer_config.json that decide whether words are tokenised one by one. */
const bertFiles = z.object({
  tokenizer: z.object({
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
    post_processor: z.object({ type: z.enum(['TemplateProcessing', 'BertProcessing']) }),
    // With white space or ideographs in them they could reach over a border.
    added_tokens: z.array(z.object({ content: z.string().regex(/^[!-~]+$/) })),
  }),
  config: z.object({ remove_space: off, do_lowercase_and_remove_accent: off }),
});

/** A tokenizer that cuts texts at white space and ideographs, and tokenises each word by itself. */
export interface BertPipeline {
  /** What stands for one token wherever it is written: [CLS] and the like. */
  addedTokens: string[];
}

/**
 * Whether a tokenizer is made of BertNormalizer, BertPreTokenizer and WordPiece, as those of most embedders are; undefined
 * when it is another, or anything about it makes words depend on their neighbours.
 * @param tokenizer content of tokenizer.json
 * @param config content of tokenizer_config.json
 */
export function bertPipelineOf(tokenizer: object, config: object): BertPipeline | undefined {
  const { data } = bertFiles.safeParse({ tokenizer, config });
  return data && { addedTokens: data.tokenizer.added_tokens.map(({ content }) => content) };
}

import { describe, expect, it } from 'vitest';
import { knownWords } from '../../model-server/tasks/known-words.ts';
import { wordPipelineOf } from '../../model-server/tasks/word-pipeline.ts';
import {
  added,
  config,
  encodeOf,
  normalizer,
  pipelineOf,
  shipped,
  withParts,
  xlmRoberta,
} from './tokenizer-files.ts';

describe('remembered words', () => {
  const pipeline = pipelineOf(shipped);
  /** Also tells which texts the library was asked for. */
  const watched = () => {
    const asked: string[] = [];
    const encode = encodeOf(shipped);
    const known = knownWords((any) => {
      asked.push(any);
      return encode(any);
    }, pipeline);
    return { known, asked };
  };

  it('are asked for once, whatever their company', () => {
    const { known, asked } = watched();
    known('which ports\tare\nused?');
    known('used? ports are which');
    expect(asked).toEqual(['which', 'ports', 'are', 'used?']);
  });

  it('are the ideographs one by one', () => {
    const { known, asked } = watched();
    known('日本日x');
    known('本日');
    expect(asked).toEqual(['日', '本', 'x']);
  });

  it('are not those that are too long, nor those that look like an added token', () => {
    const { known, asked } = watched();
    const long = 'x'.repeat(33);
    known(long);
    known(long);
    expect(asked.splice(0)).toEqual([long, long]);
    for (const text of ['a [CLS] b', 'a [CLS] b', '[c\u0000ls]']) known(text);
    expect(asked).toEqual(['a', 'a [CLS] b', 'a [CLS] b', '[c\u0000ls]']);
  });

  it('are forgotten when there are too many, the longest unused first', () => {
    const { known, asked } = watched();
    known('first');
    known('second');
    for (let index = 0; index < 32_767; index++) {
      known(`w${index}`);
      if (index === 100) known('first');
    }
    asked.length = 0;
    known('first second');
    expect(asked).toEqual(['second']);
  });

  it('are handed out in arrays that callers may change', () => {
    const { known } = watched();
    const ids = known('ports');
    const before = [...ids];
    ids.push(1);
    expect(known('ports')).toEqual(before);
    known('one two').length = 0;
    expect(known('one two')).toHaveLength(2);
  });
});

describe('a tokenizer is taken for one of words', () => {
  it('when it is that of BERT, also one that does not name its model', () => {
    expect(pipelineOf(shipped).addedTokens).toEqual(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']);
    const { type, ...model } = shipped.model as { type?: string; vocab: Record<string, number> };
    expect(type).toBe('WordPiece');
    expect(wordPipelineOf({ ...shipped, model }, config)).toBeDefined();
  });

  it('when it is that of XLM-RoBERTa, whose ideographs are no words', () => {
    const { word, addedTokens } = pipelineOf(xlmRoberta());
    expect(addedTokens).toEqual(['<s>', '<pad>', '</s>', '<unk>', '<mask>']);
    expect('日本 x'.match(word)).toEqual(['日本', 'x']);
    const normalizer = { type: 'Sequence', normalizers: [xlmRoberta().normalizer] };
    expect(wordPipelineOf(xlmRoberta({ normalizer }), config)).toBeDefined();
  });

  const pretokenizers = (list: object[]) => ({ pre_tokenizer: { type: 'Sequence', pretokenizers: list } });
  const split = { type: 'WhitespaceSplit' };
  const others: [string, object, object?][] = [
    ['pieces may span white space', xlmRoberta({ pre_tokenizer: { type: 'Metaspace', replacement: '▁' } })],
    [
      'only the first word is marked',
      xlmRoberta(pretokenizers([split, { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first' }])),
    ],
    ['words are not marked', xlmRoberta(pretokenizers([split]))],
    [
      'its mark is no piece',
      xlmRoberta({
        model: {
          type: 'Unigram',
          unk_id: 0,
          vocab: [
            ['<unk>', 0],
            ['a', -1],
          ],
        },
      }),
    ],
    [
      'white space becomes a mark first',
      xlmRoberta({
        normalizer: {
          type: 'Sequence',
          normalizers: [
            xlmRoberta().normalizer,
            { type: 'Replace', pattern: { Regex: ' {2,}' }, content: '▁' },
          ],
        },
      }),
    ],
    ['it does not normalise', withParts({ normalizer: null })],
    ['its normaliser is another', withParts({ normalizer: { type: 'Lowercase' } })],
    ['ideographs are no words to it', withParts(normalizer({ handle_chinese_chars: false }))],
    ['it cuts in another way', withParts({ pre_tokenizer: { type: 'ByteLevel' } })],
    ['its model is another', withParts({ model: { type: 'Unigram', vocab: [] } })],
    ['it merges', withParts({ model: { ...shipped.model, type: undefined, merges: [] } })],
    ['it joins unknown words', withParts({ model: { ...shipped.model, fuse_unk: true } })],
    ['it changes tokens afterwards', withParts({ post_processor: { type: 'Sequence', processors: [] } })],
    ['an added token holds a space', withParts({ added_tokens: [added('a b')] })],
    ['an added token holds an ideograph', withParts({ added_tokens: [added('漢')] })],
    ['its settings change white space', shipped, { ...config, remove_space: true }],
    ['its settings drop marks', shipped, { ...config, do_lowercase_and_remove_accent: true }],
  ];
  it.each(others)('but not when %s', (_, tokenizer, settings = config) => {
    expect(wordPipelineOf(tokenizer, settings)).toBeUndefined();
  });
});

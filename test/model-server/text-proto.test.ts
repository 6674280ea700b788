import { describe, expect, it } from 'vitest';
import { parseTextProto } from '../../model-server/models/repository/text-proto.ts';

describe('parseTextProto', () => {
  it('reads the forms that config.pbtxt files use', () => {
    const source = `
      # a comment
      name: "m" platform: 'onnxruntime_onnx'
      max_batch_size: 8;
      input [ { name: "a" data_type: TYPE_FP32 dims: [ -1, 3 ] }, { name: "b" dims: 1 dims: 2 } ]
      dynamic_batching { }
      version_policy: { latest: { num_versions: 1 } }
      parameters < key: "k" value < string_value: "one" " two\\n" > >
      flag: true ratio: 0.5 small: -1e-3`;
    expect(parseTextProto(source)).toEqual({
      name: 'm',
      platform: 'onnxruntime_onnx',
      max_batch_size: 8,
      input: [
        { name: 'a', data_type: 'TYPE_FP32', dims: [-1, 3] },
        { name: 'b', dims: [1, 2] },
      ],
      dynamic_batching: {},
      version_policy: { latest: { num_versions: 1 } },
      parameters: { key: 'k', value: { string_value: 'one two\n' } },
      flag: true,
      ratio: 0.5,
      small: -0.001,
    });
  });

  const broken: [string, string, RegExp][] = [
    ['an open message', 'a {\n b: 1', /line 2: a message is not closed/],
    ['a missing value', 'a:\n}', /line 2: expected a value, found }/],
    ['a value without a colon', 'a 5', /line 1: expected : or \{, found 5/],
    ['an open string', 'a: "x', /line 1: unexpected/],
    ['a list without commas', 'a: [1 2]', /line 1: expected , or \]/],
    ['a word that is no number', 'a: 1.2.3', /line 1: 1\.2\.3 is not a number/],
    ['a stray symbol', 'a: 1 @', /line 1: unexpected "@"/],
    ['a field that is no name', '5: 1', /line 1: expected a field name, found 5/],
  ];
  it.each(broken)('names the line of %s', (_, source, message) => {
    expect(() => parseTextProto(source)).toThrow(message);
  });
});

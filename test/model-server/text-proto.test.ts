import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseTextProto, TextProtoError } from '../../model-server/models/repository/text-proto.ts';

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
      parameters: [ { key: "l" } ]
      none: []
      flag: true other: False ratio: 0.5 small: -1e-3`;
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
      parameters: [{ key: 'k', value: { string_value: 'one two\n' } }, { key: 'l' }],
      none: [],
      flag: true,
      other: false,
      ratio: 0.5,
      small: -0.001,
    });
  });

  const numbers: [string, number][] = [
    ['0', 0],
    ['10', 10],
    ['-7', -7],
    ['- # a comment between\n 7', -7],
    ['0x1F', 31],
    ['017', 15],
    ['1.5f', 1.5],
    ['2F', 2],
    ['.25', 0.25],
    ['1.', 1],
    ['1e3', 1000],
    ['2.5E-1', 0.25],
    ['0.5', 0.5],
    ['-inf', -Infinity],
    ['-nan', NaN],
  ];
  it.each(numbers)('reads the number %s', (text, value) => {
    expect(parseTextProto(`a: ${text}`)).toEqual({ a: value });
  });

  const strings: [string, string][] = [
    [String.raw`"\a\b\t\n\v\f\r\"\'\?\\"`, '\x07\b\t\n\v\f\r"\'?\\'],
    [String.raw`"\101\60"`, 'A0'],
    [String.raw`"\x41\xc3\xa4"`, 'Aä'],
    [String.raw`'\303\244'`, 'ä'],
    [String.raw`"\u00e4\U0001F600"`, 'ä😀'],
    [`"ä" 'b'\n  "c"`, 'äbc'],
    [`'it"s'`, 'it"s'],
    [`""`, ''],
    [`"# no comment"`, '# no comment'],
  ];
  it.each(strings)('reads the string %s', (text, value) => {
    expect(parseTextProto(`a: ${text}`)).toEqual({ a: value });
  });

  it('keeps a field called __proto__ as a field', () => {
    const message = parseTextProto('__proto__ { polluted: true }');
    expect(Object.keys(message)).toEqual(['__proto__']);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  const broken: [string, string, RegExp][] = [
    ['an open message', 'a {\n b: 1', /line 2: a message is not closed/],
    ['a message closed twice', 'a { }\n}', /line 2: expected a field name, found }/],
    ['a message closed otherwise', 'a <\n}', /line 2: expected a field name, found }/],
    ['a missing value', 'a:\n}', /line 2: expected a value, found }/],
    ['a value without a colon', 'a 5', /line 1: expected : or \{, found 5/],
    ['a list of values without a colon', 'a [1]', /line 1: expected : or \{, found 1/],
    ['an open string', 'a: "x', /line 1: unexpected/],
    ['a string over two lines', 'a: "x\ny"', /line 1: unexpected/],
    ['a list without commas', 'a: [1 2]', /line 1: expected , or \]/],
    ['a list that ends with a comma', 'a: [1,\n]', /line 2: expected a value, found ]/],
    ['a list in a list', 'a: [[1]]', /line 1: expected a value, found \[/],
    ['an open list', 'a: [1,', /line 1: expected a value, found the end of the file/],
    ['a word that is no number', 'a: 1.2.3', /line 1: 1\.2\.3 is not a number/],
    ['an octal number with a nine', 'a: 019', /line 1: 019 is not a number/],
    ['a hex number without digits', 'a: 0x', /line 1: 0x is not a number/],
    ['a minus before a string', 'a: -"b"', /line 1: expected a number after -/],
    ['a minus before a name', 'a: -constructor', /line 1: expected a number after -/],
    ['a stray symbol', 'a: 1 @', /line 1: unexpected "@"/],
    ['a field that is no name', '5: 1', /line 1: expected a field name, found 5/],
    ['an extension', '[a]: 1', /line 1: expected a field name, found \[/],
    ['an escape that is not known', String.raw`a: "\q"`, /line 1: the escape \\q is not known/],
    ['an escape above a byte', String.raw`a: "\777"`, /line 1: the escape \\777 is not known/],
    ['half a character', String.raw`a: "\ud800"`, /line 1: the escape \\ud800 is no character/],
    ['bytes that are no text', String.raw`a: "\xff"`, /line 1: the bytes of "\\xff" are no UTF-8/],
    ['a string where a name belongs', `"${'x'.repeat(200)}"`, /found x{100}…$/],
    ['messages without end', 'a{'.repeat(1000), /line 1: messages lie deeper than 64 levels/],
  ];
  it.each(broken)('names the line of %s', (_, source, message) => {
    expect(() => parseTextProto(source)).toThrow(message);
    expect(() => parseTextProto(source)).toThrow(TextProtoError);
  });

  it('throws nothing but its own error, whatever it is given', () => {
    const piece = fc.oneof(
      fc.constantFrom(...'{}[]<>:,;-#\'"\\\n \t'),
      fc.constantFrom('name', 'true', 'inf', '0x1F', '017', '1e9', '1.5f', '"a\\n"', "'\\x41'", '\\u12'),
      fc.string({ maxLength: 5, unit: 'binary' }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => {
        try {
          parseTextProto(pieces.join(''));
        } catch (error) {
          expect(error).toBeInstanceOf(TextProtoError);
        }
      }),
      { numRuns: 3000 },
    );
  });

  const large: [string, string][] = [
    ['one long string', `a: "${'x'.repeat(1_000_000)}"`],
    ['one long string of escapes', `a: "${'\\n'.repeat(500_000)}"`],
    ['an open long string of escapes', `a: "${'\\"'.repeat(500_000)}`],
    ['one field many times', 'a:1 '.repeat(250_000)],
    ['one long list', `a: [${'1,'.repeat(400_000)}1]`],
    ['many neighbouring strings', `a: ${'"b"'.repeat(300_000)}`],
    ['one long number', `a: ${'1'.repeat(1_000_000)}`],
    ['nothing but blanks', ' '.repeat(1_000_000)],
  ];
  it.each(large)('reads or refuses a megabyte of %s in one pass', (_, source) => {
    try {
      expect(Object.keys(parseTextProto(source))).toEqual(source.trim() === '' ? [] : ['a']);
    } catch (error) {
      expect(error).toBeInstanceOf(TextProtoError);
    }
  });
});

import { describe, expect, test } from 'vitest';
import { chooseOnnx } from '../../cli/pull/choose.ts';
import { readOnnxName } from '../../cli/pull/onnx-name.ts';
import { cacheSnapshot, nameOf, readReference } from '../../cli/pull/reference.ts';
import { checkedPath } from '../../cli/pull/source.ts';

test.each([
  ['model.onnx', { network: 'model', precision: 'fp32', target: undefined, optimised: 0 }],
  ['onnx/model.onnx', { network: 'model', precision: 'fp32' }],
  ['onnx/model_fp16.onnx', { network: 'model', precision: 'fp16' }],
  ['onnx/model_int8.onnx', { network: 'model', precision: 'int8', unspecific: false }],
  ['onnx/model_uint8.onnx', { network: 'model', precision: 'uint8' }],
  ['onnx/model_quantized.onnx', { network: 'model', precision: 'int8', unspecific: true }],
  ['onnx/model_q4.onnx', { network: 'model', precision: 'q4' }],
  ['onnx/model_q4f16.onnx', { network: 'model', precision: 'q4f16' }],
  ['onnx/model_bnb4.onnx', { network: 'model', precision: 'bnb4' }],
  ['onnx/model_qint8_arm64.onnx', { network: 'model', precision: 'int8', target: 'arm64' }],
  ['onnx/model_qint8_avx512.onnx', { network: 'model', precision: 'int8', target: 'avx512' }],
  ['onnx/model_qint8_avx512_vnni.onnx', { network: 'model', precision: 'int8', target: 'avx512_vnni' }],
  ['onnx/model_quint8_avx2.onnx', { network: 'model', precision: 'uint8', target: 'avx2' }],
  ['onnx/model_O1.onnx', { network: 'model', precision: 'fp32', optimised: 1 }],
  ['onnx/model_O3.onnx', { network: 'model', precision: 'fp32', optimised: 3 }],
  ['onnx/model_O4.onnx', { network: 'model', precision: 'fp16', optimised: 4 }],
  ['model_optimized_quantized.onnx', { network: 'model', precision: 'int8', optimised: 2 }],
  ['model-int8.onnx', { network: 'model', precision: 'int8' }],
  ['text_model_quantized.onnx', { network: 'text_model', precision: 'int8' }],
  ['vision_model.onnx', { network: 'vision_model', precision: 'fp32' }],
  ['int8.onnx', { network: 'int8', precision: 'fp32' }],
])('%s says what it is', (path, said) => {
  expect(readOnnxName(path)).toMatchObject({ path, ...said });
});

/** As sentence-transformers publishes them. */
const published = [
  'onnx/model.onnx',
  'onnx/model_O1.onnx',
  'onnx/model_O4.onnx',
  'onnx/model_qint8_arm64.onnx',
  'onnx/model_qint8_avx512.onnx',
  'onnx/model_qint8_avx512_vnni.onnx',
  'onnx/model_quint8_avx2.onnx',
  'openvino/openvino_model.xml',
];
/** As Transformers.js wants them. */
const converted = ['fp16', 'int8', 'uint8', 'quantized', 'q4'].map((suffix) => `onnx/model_${suffix}.onnx`);

const x64 = (...flags: string[]) => ({ arch: 'x64', flags: new Set(flags) });
const vnni = x64('avx2', 'avx512f', 'avx512_vnni');
const arm = { arch: 'arm64', flags: new Set(['asimddp']) };

test.each([
  ['auto', published, vnni, 'onnx/model.onnx'],
  ['auto', ['model.onnx', ...published], vnni, 'onnx/model.onnx'],
  ['auto', ['model.onnx'], arm, 'model.onnx'],
  ['auto', ['onnx/model_O3.onnx', 'onnx/model_O2.onnx'], vnni, 'onnx/model_O2.onnx'],
  ['auto', converted, vnni, 'onnx/model_fp16.onnx'],
  ['auto', ['model_quantized.onnx', 'model_q4.onnx'], vnni, 'model_quantized.onnx'],
  ['auto', ['text_model.onnx', 'text_model_fp16.onnx'], vnni, 'text_model.onnx'],
  ['auto', ['model.onnx', 'decoder_model.onnx'], vnni, 'model.onnx'],
  ['fp16', published, vnni, 'onnx/model_O4.onnx'],
  ['int8', published, vnni, 'onnx/model_qint8_avx512_vnni.onnx'],
  ['int8', published, x64('avx2', 'avx512f'), 'onnx/model_quint8_avx2.onnx'],
  ['int8', published, x64('avx2'), 'onnx/model_quint8_avx2.onnx'],
  ['int8', published, arm, 'onnx/model_qint8_arm64.onnx'],
  [
    'int8',
    published.filter((path) => !path.includes('avx2')),
    x64('avx512f'),
    'onnx/model_qint8_avx512.onnx',
  ],
  ['int8', converted, vnni, 'onnx/model_int8.onnx'],
  ['int8', converted, x64('avx2'), 'onnx/model_uint8.onnx'],
  ['int8', converted, arm, 'onnx/model_int8.onnx'],
  ['int8', converted, { arch: 'x64', flags: undefined }, 'onnx/model_uint8.onnx'],
  ['uint8', converted, vnni, 'onnx/model_uint8.onnx'],
  ['q4', converted, vnni, 'onnx/model_q4.onnx'],
] as const)('--variant %s of %j', (variant, paths, machine, chosen) => {
  expect(chooseOnnx(paths, { variant }, machine).chosen.path).toBe(chosen);
});

test('a choice says why, and what else there is', () => {
  const { why, alternatives } = chooseOnnx(published, { variant: 'auto' }, vnni);
  expect(why).toMatch(/^full precision by its name: .*--variant int8/);
  expect(alternatives).toHaveLength(6);
  expect(chooseOnnx(published, { variant: 'int8' }, vnni).why).toContain(
    'made for avx512_vnni, which this processor has',
  );
  expect(chooseOnnx(published, { variant: 'int8' }, vnni).why).toContain(
    'can depend on the texts beside them',
  );
  expect(chooseOnnx(['model.onnx'], { variant: 'auto' }, vnni).why).not.toContain('--variant int8');
  expect(chooseOnnx(['model_q4.onnx'], { variant: 'auto' }, vnni).why).toContain('none of full precision');
});

test('--file ends every discussion, wherever it lies', () => {
  const paths = ['onnx/model.onnx', 'deep/down/text.onnx'];
  const { chosen } = chooseOnnx(paths, { variant: 'fp32', file: './deep/down/text.onnx' }, vnni);
  expect(chosen.path).toBe('deep/down/text.onnx');
});

test.each([
  [
    { variant: 'auto' },
    ['model.safetensors'],
    /no ONNX file\. Its weights are model\.safetensors\.(.|\n)*optimum-cli export onnx/,
  ],
  [{ variant: 'auto' }, ['README.md'], /It holds README\.md/],
  [
    { variant: 'auto' },
    ['a/b/model.onnx'],
    /folders of their own; choose one with --file: a\/b\/model\.onnx/,
  ],
  [
    { variant: 'auto' },
    ['text_model.onnx', 'vision_model.onnx'],
    /2 networks \(text_model, vision_model\); choose one with --file/,
  ],
  [
    { variant: 'int8' },
    ['model.onnx', 'model_qint8_arm64.onnx'],
    /no int8 file for this machine.*model_qint8_arm64\.onnx/,
  ],
  [{ variant: 'auto', file: 'x.onnx' }, ['model.onnx'], /no file x\.onnx; its ONNX files are model\.onnx/],
] as const)('%j finds nothing in %j', (wish, paths, message) => {
  expect(() => chooseOnnx(paths, wish, vnni)).toThrow(message);
});

describe('references', () => {
  test.each([
    ['owner/name', { kind: 'hub', id: 'owner/name', revision: 'main' }],
    ['owner/name@v1.0', { kind: 'hub', id: 'owner/name', revision: 'v1.0' }],
    ['owner/name@refs/pr/3', { kind: 'hub', id: 'owner/name', revision: 'refs/pr/3' }],
    ['bert-base', { kind: 'hub', id: 'bert-base', revision: 'main' }],
    ['./x', { kind: 'folder', folder: '/here/x' }],
    ['../x', { kind: 'folder', folder: '/x' }],
    ['/abs/x', { kind: 'folder', folder: '/abs/x' }],
    ['.', { kind: 'folder', folder: '/here' }],
  ])('%s', (text, reference) => expect(readReference(text, '/here')).toEqual(reference));

  test.each([
    'a/b/c',
    'a//b',
    'owner/..',
    'owner/na me',
    'owner/name@',
    'owner/name@../x',
    'owner/name@a b',
    '',
    '@main',
  ])('%j is none', (text) =>
    expect(() => readReference(text, '/here')).toThrow(/neither a hub id|can't be a revision/),
  );

  test('a folder without ./ gets a hint', () => {
    expect(() => readReference('cli/pull/x/..', process.cwd())).toThrow('./cli/pull/x/..');
  });

  test.each([
    [{ kind: 'hub', id: 'Owner/All-MiniLM-L6-v2', revision: 'main' }, undefined, 'all-minilm-l6-v2'],
    [{ kind: 'hub', id: 'Owner/_x', revision: 'main' }, undefined, 'x'],
    [{ kind: 'folder', folder: '/a/My Model (1)' }, undefined, 'my-model-1'],
    [{ kind: 'folder', folder: `/hub/models--a--B.x/snapshots/${'a'.repeat(40)}` }, undefined, 'b.x'],
    [{ kind: 'hub', id: 'a/b', revision: 'main' }, 'Given_1', 'Given_1'],
  ] as const)('%j with --name %s is called %s', (reference, given, name) => {
    expect(nameOf(reference, given)).toBe(name);
  });

  test.each(['', '.hidden', '../x', 'a/b', 'a b', 'x'.repeat(129), 'a.tmp', 'a.partial'])(
    '--name %j is refused',
    (given) => {
      expect(() => nameOf({ kind: 'hub', id: 'a/b', revision: 'main' }, given)).toThrow('--name');
    },
  );

  test('a folder in any letters gives a name that the server takes', () => {
    const named = (folder: string) => nameOf({ kind: 'folder', folder }, undefined);
    expect(named('/m/Ünï mödel (v2)')).toBe('uni-model-v2');
    for (const folder of ['/m/模型', '/m/half.partial']) expect(() => named(folder)).toThrow('--name');
  });

  test('a snapshot of the Hugging Face cache tells model and commit', () => {
    const commit = 'a1'.repeat(20);
    expect(cacheSnapshot(`/c/models--o--n--m/snapshots/${commit}`)).toEqual({ id: 'o/n--m', commit });
    expect(cacheSnapshot('/c/o/n')).toBeUndefined();
  });
});

test.each([
  '../x',
  'a/../../x',
  '/etc/passwd',
  'a\\b',
  'C:/x',
  'a/./b',
  '',
  'a//b',
  'a\nb',
  'a\u0000b',
  'a/',
  `${'x'.repeat(256)}`,
])('the path %j is refused', (path) =>
  expect(() => checkedPath(path, 'a/b')).toThrow('could leave its folder'),
);

test.each(['model.onnx', '1_Pooling/config.json', 'onnx/model.onnx_data', '..a/b..c'])(
  'the path %s is fine',
  (path) => {
    expect(checkedPath(path, 'a/b')).toBe(path);
  },
);

import { posix } from 'node:path';
import { CommandFailure } from '../exit-codes.ts';
import { isOnnx, type OnnxName, type Precision, readOnnxName } from './onnx-name.ts';

/** What decides which 8-bit file this processor runs right and fast. */
export interface Machine {
  arch: string;
  /** Instruction sets as /proc/cpuinfo names them; undefined where the system does not tell. */
  flags: ReadonlySet<string> | undefined;
}

export interface Wish {
  /** `auto`: full precision if there is any. */
  variant: Precision | 'auto';
  /** Path of the file in the snapshot; it ends every discussion. */
  file?: string | undefined;
}

export interface Choice {
  chosen: OnnxName;
  /** For the person at the terminal. */
  why: string;
  alternatives: readonly OnnxName[];
}

/** Where exporters put ONNX files: beside the config, or in `onnx/`. */
const usualPlace = /^(onnx\/)?[^/]+\.onnx$/i;

/**
 * Picks the ONNX file that suits the machine.
 *
 * `auto` takes full precision wherever there is any: 8-bit files as usually published choose their scale for the whole
 * batch at run time, so that a text's vector depends on the texts beside it, and it lies in another space than the vectors
 * that a full-precision copy made. Speed is a choice for the operator, who asks with `--variant int8`.
 * @param paths all files of the snapshot
 * @throws CommandFailure when nothing fits; the message lists what there is
 */
export function chooseOnnx(paths: readonly string[], wish: Wish, machine: Machine): Choice {
  const all = paths.filter(isOnnx);
  if (all.length === 0) throw noOnnx(paths);
  if (wish.file !== undefined) return asWished(wish.file, all);
  const usual = all.filter((path) => usualPlace.test(path));
  if (usual.length === 0)
    throw new CommandFailure(
      `its ONNX files lie in folders of their own; choose one with --file: ${listed(all)}`,
    );
  const candidates = oneNetwork(usual.map(readOnnxName));
  const ranked = candidates
    .map((name) => ({ name, rank: rankOf(name, wish.variant, machine) }))
    .filter(({ rank }) => rank !== undefined)
    .sort(
      (a, b) =>
        a.rank! - b.rank! || placeOf(a.name) - placeOf(b.name) || (a.name.path < b.name.path ? -1 : 1),
    );
  const best = ranked[0]?.name;
  if (best === undefined) {
    const wanted =
      wish.variant === 'auto'
        ? `file for this machine (${machine.arch})`
        : `${wish.variant} file for this machine`;
    throw new CommandFailure(`it has no ${wanted}; choose one with --file: ${listed(all)}`);
  }
  const alternatives = all.filter((path) => path !== best.path).map(readOnnxName);
  return { chosen: best, why: reason(best, wish.variant, alternatives), alternatives };
}

function asWished(file: string, all: readonly string[]): Choice {
  const path = posix.normalize(file);
  if (!all.includes(path))
    throw new CommandFailure(`it has no file ${file}; its ONNX files are ${listed(all)}`);
  const alternatives = all.filter((other) => other !== path).map(readOnnxName);
  return { chosen: readOnnxName(path), why: 'named by --file', alternatives };
}

/** The files of the network called `model`, or of the only network there is. */
function oneNetwork(names: readonly OnnxName[]): readonly OnnxName[] {
  const networks = new Set(names.map(({ network }) => network));
  const network = networks.has('model') ? 'model' : [...networks][0];
  if (networks.size > 1 && !networks.has('model')) {
    const paths = names.map(({ path }) => path);
    throw new CommandFailure(
      `it holds ${networks.size} networks (${[...networks].join(', ')}); choose one with --file: ${listed(paths)}`,
    );
  }
  return names.filter((name) => name.network === network);
}

/** Lower is better; undefined: not for this wish or this machine. */
function rankOf(name: OnnxName, variant: Wish['variant'], machine: Machine): number | undefined {
  const { precision, optimised } = name;
  if (variant === 'auto') {
    const order = orderOfAuto.indexOf(precision);
    const within = rankOf(name, precision, machine);
    return within === undefined ? undefined : order * 100 + within;
  }
  const eightBits = precision === 'int8' || precision === 'uint8';
  if (variant === 'int8' && eightBits) return rankOfEightBits(name, machine);
  if (variant !== precision) return undefined;
  if (eightBits) return rankOfEightBits(name, machine);
  // ONNX Runtime optimises the plain graph itself when it loads it; level 3 also replaces GELU by an approximation.
  return [0, 2, 1, 3, 4].indexOf(optimised);
}

const orderOfAuto: readonly Precision[] = ['fp32', 'fp16', 'int8', 'uint8', 'q4', 'q4f16', 'bnb4'];

/**
 * A file made for this processor comes first. On x64 without VNNI, sums of 8-bit products of signed weights can saturate,
 * so that unsigned weights (those for AVX2 too) are preferred there.
 */
function rankOfEightBits({ target, precision, unspecific }: OnnxName, machine: Machine): number | undefined {
  const { arch, flags } = machine;
  const has = (flag: string) => arch === 'x64' && flags?.has(flag) === true;
  const vnni = has('avx512_vnni') || has('avx_vnni');
  const fits = {
    avx512_vnni: has('avx512_vnni'),
    avx512: has('avx512f'),
    avx2: has('avx2'),
    arm64: arch === 'arm64',
  };
  if (target !== undefined) {
    if (!fits[target]) return undefined;
    return { avx512_vnni: 0, arm64: 0, avx512: vnni ? 1 : 3, avx2: vnni ? 4 : 0 }[target];
  }
  if (unspecific) return 11;
  return (precision === 'int8') === (vnni || arch !== 'x64') ? 10 : 12;
}

function placeOf({ path }: OnnxName): number {
  return path.startsWith('onnx/') ? 0 : 1;
}

function reason(
  { precision, target, optimised }: OnnxName,
  variant: Wish['variant'],
  others: readonly OnnxName[],
): string {
  const made = target === undefined ? '' : `, made for ${target}, which this processor has`;
  const caution =
    precision === 'int8' || precision === 'uint8'
      ? '; 8-bit vectors can depend on the texts beside them: the server checks it at load'
      : '';
  if (variant !== 'auto') return `${precision}, as --variant ${variant} asks${made}${caution}`;
  if (precision === 'fp32') {
    const level = optimised === 0 ? '' : `, optimised offline (level ${optimised})`;
    const faster = others.some((other) => other.precision === 'int8' || other.precision === 'uint8')
      ? '; --variant int8 is smaller and faster'
      : '';
    return `full precision by its name${level}: vectors then match the reference and do not depend on their batch${faster}`;
  }
  return `the most precise file there is (${precision}${made}); there is none of full precision${caution}`;
}

function noOnnx(paths: readonly string[]): CommandFailure {
  const weights = paths.filter((path) => /\.(safetensors|bin|pt|h5|msgpack|gguf)$/i.test(path));
  const found = weights.length > 0 ? ` Its weights are ${listed(weights)}.` : ` It holds ${listed(paths)}.`;
  return new CommandFailure(
    `it has no ONNX file.${found} Export one with Optimum, then pull the folder:\n` +
      '  pip install "optimum[onnxruntime]"\n' +
      '  optimum-cli export onnx --model <id> ./exported\n' +
      '  nereid pull ./exported',
  );
}

const MOST_LISTED = 20;

function listed(paths: readonly string[]): string {
  if (paths.length === 0) return 'nothing';
  const rest = paths.length - MOST_LISTED;
  return paths.slice(0, MOST_LISTED).join(', ') + (rest > 0 ? ` and ${rest} more` : '');
}

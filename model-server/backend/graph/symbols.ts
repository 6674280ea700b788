/** A length: a number, that of the batch (B), that of the longest text (S), or one that is not known. */
export type Dim = number | 'B' | 'S' | undefined;
/** Undefined when not even the rank is known. */
export type Shape = readonly Dim[] | undefined;

/** The shape that tensors have when they are combined value by value, by the rules of numpy. */
export function broadcast(shapes: readonly Shape[]): Shape {
  if (shapes.some((shape) => shape === undefined)) return undefined;
  const known = shapes as readonly (readonly Dim[])[];
  const rank = Math.max(0, ...known.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, at) => {
    const dims = known.map((shape) => dimFromEnd(shape, rank - at)).filter((dim) => dim !== 1);
    if (dims.length === 0) return 1;
    const [first] = dims;
    // A number above 1 is certain; a letter beside a length that is not known could itself be 1.
    return (
      dims.find((dim) => typeof dim === 'number') ?? (dims.every((dim) => dim === first) ? first : undefined)
    );
  });
}

/** The length of an axis counted from the end, from 1 on; 1 where the shape has none. */
export function dimFromEnd(shape: readonly Dim[], at: number): Dim {
  return at > shape.length ? 1 : shape[shape.length - at];
}

/**
 * The shape that Reshape gives.
 * @param target what it is asked for: 0 takes over a length, -1 takes what is left
 */
export function reshaped(input: Shape, target: readonly Dim[], zeroMeansZero: boolean): readonly Dim[] {
  const wanted = target.map((dim, at) => (dim === 0 && !zeroMeansZero ? input?.[at] : dim));
  if (!wanted.includes(-1)) return wanted;
  const left = remainder(
    input,
    wanted.filter((dim) => dim !== -1),
  );
  return wanted.map((dim) => (dim === -1 ? left : dim));
}

/** What is left of a shape's product after division; undefined unless it is a single number or letter. */
function remainder(input: Shape, divisors: readonly Dim[]): Dim {
  if (input === undefined || input.includes(undefined) || divisors.includes(undefined)) return undefined;
  const product = (dims: readonly Dim[]) =>
    dims.reduce<number>((total, dim) => (typeof dim === 'number' ? total * dim : total), 1);
  const count = (dims: readonly Dim[], letter: Dim) => dims.filter((dim) => dim === letter).length;
  const left = product(input) / product(divisors);
  const [rows, tokens] = (['B', 'S'] as const).map(
    (letter) => count(input, letter) - count(divisors, letter),
  );
  if (rows === 0 && tokens === 0) return Number.isInteger(left) ? left : undefined;
  if (left !== 1 || rows! < 0 || tokens! < 0 || rows! + tokens! !== 1) return undefined;
  return rows === 1 ? 'B' : 'S';
}

/** An axis counted from the front; -1 is the last. */
export function axisOf(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}

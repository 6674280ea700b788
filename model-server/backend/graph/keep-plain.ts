import type { Plain } from './facts.ts';
import { knownValue } from './known-values.ts';
import { withPorts } from './make-node.ts';
import { plainShapes } from './plain-shapes.ts';
import type { Step } from './step.ts';

/** An operator among plain things stays as it is; what comes out of attention becomes flat. */
export function keepPlain({ packing, node, operands }: Step): void {
  const plain = operands as readonly (Plain | undefined)[];
  const padded = plain.some((fact) => fact?.padded);
  const masked = plain.some((fact) => fact?.masked);
  const shapes = plainShapes(node, operands);
  const [shape] = shapes;
  const isContext = padded && masked && shape?.length === 3 && shape[0] === 'B' && shape[1] === 'S';
  if (node.opType === 'Reshape' && isContext) {
    const [flat] = node.outputs as [string];
    const context = `packing.${flat}.context`;
    packing.nodes.push(withPorts(node, { outputs: [context] }));
    packing.facts.set(context, { kind: 'plain', shape, padded, masked });
    packing.unpad([context, flat]);
    return;
  }
  packing.nodes.push(node);
  node.outputs.forEach((name, at) => {
    const known = at === 0 ? knownValue(node, operands) : undefined;
    packing.facts.set(name, { kind: 'plain', shape: shapes[at], known, padded, masked });
  });
}

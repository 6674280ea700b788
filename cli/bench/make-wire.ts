import type { WireChoice } from './load-plan.ts';
import { connectJsonWire, protoWire } from './nereid-wires.ts';
import { kserveWire, openAiWire, teiWire } from './other-wires.ts';
import type { Wire } from './wire.ts';

/** The wire of a choice. */
export function makeWire({ name, model, tensors }: WireChoice): Wire {
  if (name === 'proto') return protoWire(model);
  if (name === 'connect-json') return connectJsonWire(model);
  if (name === 'tei') return teiWire();
  return name === 'openai' ? openAiWire(model) : kserveWire(model, tensors);
}

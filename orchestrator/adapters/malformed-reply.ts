import { RagError } from '../errors.ts';

/** What a reply is refused with that the contract does not allow. */
export function malformedReply(address: string, what: string): RagError {
  return new RagError(
    'MODEL_SERVER_REFUSED',
    `The model server at ${address} sent ${what}. Is it a Nereid of the same version?`,
  );
}

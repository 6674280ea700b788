import type { DescService } from '@bufbuild/protobuf';
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { type ApiDeps, measured } from '../call.ts';
import { CallContext } from '../call-context.ts';
import { servingMethods } from '../serving/methods.ts';
import { answer, decoded } from './call.ts';

/** The unary methods of one service of proto/serving.proto: cancel, deadline, error mapping, metrics. */
export function unaryService(deps: ApiDeps, service: DescService): UntypedServiceImplementation {
  const methods = servingMethods(deps).filter(({ method }) => method.parent.typeName === service.typeName);
  const entries = methods.map(({ method, handle }) => {
    const unary = answer<Parameters<typeof handle>[0], Awaited<ReturnType<typeof handle>>>((call) =>
      measured(deps, method.name, () => handle(decoded(call.request), new CallContext(call))),
    );
    return [method.localName, unary];
  });
  return Object.fromEntries(entries);
}

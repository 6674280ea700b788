import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { adminCall } from '../admin/admin-call.ts';
import { adminMethods, modelOf } from '../admin/handlers.ts';
import type { ApiDeps } from '../call.ts';
import { answer, callerOf, decoded } from './call.ts';

type Message = MessageShape<DescMessage>;

/** AdminService of proto/admin.proto. */
export function adminService(deps: ApiDeps): UntypedServiceImplementation {
  const entries = adminMethods(deps.admin, deps.serverVersion).map(({ method, handle }) => {
    const unary = answer<Message, Message>((call) =>
      adminCall(deps, {
        method: method.name,
        caller: callerOf(call),
        read: () => decoded(call.request),
        modelOf,
        run: handle,
      }),
    );
    return [method.localName, unary];
  });
  return Object.fromEntries(entries);
}

import type { Door, DoorOptions } from './door.ts';
import { GrpcDoor } from './grpc-door.ts';
import { HttpDoor } from './http-door.ts';
import { StreamDoor } from './stream-door.ts';

/** The ways to send requests. */
export type DoorKind = 'grpc' | 'grpc-stream' | 'http';

const doors = { grpc: GrpcDoor, 'grpc-stream': StreamDoor, http: HttpDoor };

/** A door of that kind; it has to be opened. */
export function makeDoor(kind: DoorKind, options: DoorOptions): Door {
  return new doors[kind](options);
}

import { setTimeout as pause } from 'node:timers/promises';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { AdminService } from '../../../proto/gen/admin_pb.js';
import { GRPCInferenceService } from '../../../proto/gen/inference_pb.js';
import { EmbedService, ModelService, RerankService } from '../../../proto/gen/serving_pb.js';
import { ServingError } from '../../errors.ts';
import type { ApiDeps } from '../call.ts';
import { adminService } from './admin.ts';
import { embedService } from './embed.ts';
import { kserveService } from './kserve.ts';
import { reflection } from './reflection.ts';
import { toServiceDefinition } from './service.ts';
import { unaryService } from './unary-service.ts';

export interface GrpcOptions {
  host: string;
  port: number;
  maxMessageBytes: number;
}

export interface GrpcApi {
  port: number;
  /** Tells health checks and their watchers. */
  setServing(serving: boolean): void;
  /** Takes no new calls and finishes the running ones. */
  close(): Promise<void>;
  destroy(): void;
}

/** An answer may still be on its way to a slow reader when the last request is done. */
const FLUSH_MS = 500;

const SERVICES = [EmbedService, RerankService, ModelService, AdminService, GRPCInferenceService];

/** Listens for gRPC: the serving services, administration, the Open Inference Protocol, health (Check and Watch) and reflection. */
export async function listenGrpc(deps: ApiDeps, options: GrpcOptions): Promise<GrpcApi> {
  const server = new Server({
    'grpc.max_receive_message_length': options.maxMessageBytes,
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': 1024,
  });
  server.addService(toServiceDefinition(EmbedService), embedService(deps));
  server.addService(toServiceDefinition(RerankService), unaryService(deps, RerankService));
  server.addService(toServiceDefinition(ModelService), unaryService(deps, ModelService));
  server.addService(toServiceDefinition(AdminService), adminService(deps));
  server.addService(toServiceDefinition(GRPCInferenceService), kserveService(deps));
  const health = new HealthImplementation();
  health.addToServer(server);
  reflection(SERVICES).addToServer(server);
  let told: boolean | undefined;
  const setServing = (serving: boolean) => {
    // Watchers hear of every status that is set, be it a new one or not.
    if (serving === told) return;
    told = serving;
    for (const name of ['', ...SERVICES.map((service) => service.typeName)]) {
      health.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING');
    }
  };
  setServing(false);
  const port = await bind(server, options);
  return {
    port,
    setServing,
    async close() {
      const ended = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      await Promise.race([
        ended,
        deps.inFlight.idle().then(() => pause(FLUSH_MS, undefined, { ref: false })),
      ]);
      // What is left are streams that nobody sends on: health watchers and idle EmbedStreams never end by themselves.
      server.forceShutdown();
    },
    destroy: () => server.forceShutdown(),
  };
}

function bind(server: Server, { host, port }: GrpcOptions): Promise<number> {
  const address = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  return new Promise((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else
        reject(
          new ServingError(
            'INTERNAL',
            `gRPC can't listen on ${address}: ${error.message}. Is the port taken? Choose another with --grpc-port.`,
          ),
        );
    });
  });
}

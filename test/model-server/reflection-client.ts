import { fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { type Client, credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const proto = new URL(
  '../../node_modules/@grpc/reflection/build/proto/grpc/reflection/v1/reflection.proto',
  import.meta.url,
);

interface Reply {
  list_services_response?: { service: { name: string }[] };
  file_descriptor_response?: { file_descriptor_proto: Buffer[] };
}

/** A client of gRPC reflection, as grpcurl is one. */
export class GrpcReflection {
  readonly #client: Client & { serverReflectionInfo(): NodeJS.ReadWriteStream };

  constructor(port: number) {
    const definition = loadPackageDefinition(loadSync(proto.pathname, { keepCase: true })) as unknown as {
      grpc: { reflection: { v1: { ServerReflection: new (address: string, credential: unknown) => never } } };
    };
    this.#client = new definition.grpc.reflection.v1.ServerReflection(
      `127.0.0.1:${port}`,
      credentials.createInsecure(),
    );
  }

  async services(): Promise<string[]> {
    const reply = await this.#ask({ list_services: '' });
    return reply.list_services_response!.service.map((service) => service.name);
  }

  async messagesOf(symbol: string): Promise<string[]> {
    const reply = await this.#ask({ file_containing_symbol: symbol });
    return reply.file_descriptor_response!.file_descriptor_proto.flatMap((bytes) =>
      fromBinary(FileDescriptorProtoSchema, bytes).messageType.map((message) => message.name),
    );
  }

  close(): void {
    this.#client.close();
  }

  #ask(request: object): Promise<Reply> {
    const call = this.#client.serverReflectionInfo();
    return new Promise((resolve, reject) => {
      call.on('data', (reply: Reply) => {
        resolve(reply);
        call.end();
      });
      call.on('error', reject);
      call.write(request as never);
    });
  }
}

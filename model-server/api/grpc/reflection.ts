import { type DescService, toBinary } from '@bufbuild/protobuf';
import { type FileDescriptorProto, FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { ReflectionService } from '@grpc/reflection';

type PackageDefinition = ConstructorParameters<typeof ReflectionService>[0];

/** gRPC reflection for services described by @bufbuild/protobuf. */
export function reflection(services: readonly DescService[]): ReflectionService {
  const files = [...new Set(services.map((service) => service.file.proto))];
  const fileDescriptorProtos = files.map((file: FileDescriptorProto) =>
    Buffer.from(toBinary(FileDescriptorProtoSchema, file)),
  );
  // The library expects what @grpc/proto-loader makes; it reads only the file descriptors and the services' names.
  const definition: PackageDefinition = {};
  for (const service of services) definition[service.typeName] = {};
  for (const file of files) {
    for (const message of file.messageType) {
      definition[`${file.package}.${message.name}`] = {
        format: 'Protocol Buffer 3 DescriptorProto',
        type: {},
        fileDescriptorProtos,
      } as never;
    }
  }
  return new ReflectionService(definition);
}

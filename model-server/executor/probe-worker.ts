import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';
import { dirname, join } from 'node:path';
import { parentPort } from 'node:worker_threads';
import { listSupportedBackends } from 'onnxruntime-node';
import type { AvailableDevices } from './devices.ts';

// Loading onnxruntime-node takes memory and time that the server's own thread should not spend, so a thread of its own
// asks what it can do, and ends.

const LIBRARY: Readonly<Partial<Record<NodeJS.Platform, (provider: string) => string>>> = {
  linux: (provider) => `libonnxruntime_providers_${provider}.so`,
  win32: (provider) => `onnxruntime_providers_${provider}.dll`,
};

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** The folder of the native part, where the runtime looks for the libraries of its providers. */
function nativeFolder(): string {
  const root = dirname(dirname(createRequire(import.meta.url).resolve('onnxruntime-node')));
  const napi = filesIn(join(root, 'bin')).find((name) => name.startsWith('napi-')) ?? '';
  return join(root, 'bin', napi, platform(), arch());
}

function countGpus(): number {
  if (platform() !== 'linux') return 1;
  // In a container only the devices that were passed in are there.
  const devices = filesIn('/dev').filter((name) => /^nvidia\d+$/.test(name)).length;
  return devices > 0 ? devices : filesIn('/proc/driver/nvidia/gpus').length;
}

const native = filesIn(nativeFolder());
const [providers, missing]: [string[], string[]] = [[], []];
for (const { name, bundled } of listSupportedBackends()) {
  const library = bundled ? undefined : LIBRARY[platform()]?.(name);
  if (library === undefined || native.includes(library)) providers.push(name);
  else missing.push(`${name}: ${library} is not beside onnxruntime-node`);
}
parentPort!.postMessage({ providers, missing, gpus: countGpus() } satisfies AvailableDevices);

import { createServer } from 'node:net';
import { ModelService } from '../../proto/gen/serving_pb.js';
import { ModelServer } from '../client/model-server.ts';
import { type Config, reachableHost } from '../config/config.ts';
import { settingOf } from '../config/settings.ts';
import type { Check } from './check.ts';

const portKeys = ['port', 'grpcPort', 'httpPort', 'metricsPort'] as const;
type PortKey = (typeof portKeys)[number];

/** For each port, whether it is free, or Nereid's, or another program's. */
export function portChecks(config: Config): Promise<Check[]> {
  return Promise.all(portKeys.map((key) => portCheck(key, config)));
}

async function portCheck(key: PortKey, config: Config): Promise<Check> {
  const { name: flag } = settingOf(key);
  const port = config[key];
  const name = `port ${port}`;
  const data = { setting: flag, port };
  if (port === 0) return { name: flag, status: 'ok', found: 'any free port', data };
  const refusal = await listenFailure(port, config.host);
  if (refusal === undefined)
    return { name, status: 'ok', found: `--${flag}: free`, data: { ...data, state: 'free' } };
  if (refusal !== 'EADDRINUSE') {
    const advice = `choose another with --${flag}, or another --host`;
    return {
      name,
      status: 'fail',
      found: `--${flag}: can't listen on ${config.host}: ${refusal}`,
      advice,
      data,
    };
  }
  const owner = await nereidAt(key, `${reachableHost(config.host)}:${port}`);
  if (owner !== undefined) {
    return { name, status: 'ok', found: `--${flag}: in use by ${owner}`, data: { ...data, state: 'nereid' } };
  }
  const advice = `end that program, or choose another port with --${flag}`;
  return {
    name,
    status: 'fail',
    found: `--${flag}: in use by another program`,
    advice,
    data: { ...data, state: 'taken' },
  };
}

/** @returns the system's code when the port can't be opened */
function listenFailure(port: number, host: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}

/** @returns what of Nereid answers there */
async function nereidAt(key: PortKey, address: string): Promise<string | undefined> {
  if (key === 'grpcPort') {
    using server = new ModelServer(address);
    const reply = await server.call(ModelService.method.listModels, {}, 2_000).catch(() => undefined);
    return reply === undefined ? undefined : `a Nereid model server ${reply.serverVersion}`;
  }
  if (key === 'metricsPort') {
    const metrics = await get(`http://${address}/metrics`);
    return metrics?.includes('nereid_') ? 'a Nereid model server' : undefined;
  }
  const text = await get(`http://${address}${key === 'httpPort' ? '/version' : '/'}`);
  const isNereid = /"name"\s*:\s*"nereid"/.test(text ?? '');
  return isNereid ? `a Nereid ${key === 'httpPort' ? 'model server' : 'orchestrator'}` : undefined;
}

async function get(url: string): Promise<string | undefined> {
  try {
    const response = await fetch(url, {
      signal: AbortSignal.timeout(2_000),
      headers: { accept: 'application/json' },
    });
    return response.ok ? await response.text() : undefined;
  } catch {
    return undefined;
  }
}

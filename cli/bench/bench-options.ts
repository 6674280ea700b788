import { type Command, InvalidArgumentError, Option } from 'commander';
import { settingOf } from '../config/settings.ts';
import { CommandFailure, exitCodes } from '../exit-codes.ts';
import { addSettings } from '../options.ts';

/** The flags of `nereid bench`, as commander gives them. */
export interface BenchOptions {
  httpUrl?: string;
  metricsUrl?: string;
  over: 'grpc' | 'http' | 'http-json';
  mode: 'unary' | 'stream';
  model?: string;
  concurrency: number;
  rate?: number;
  tokens: string;
  texts?: string;
  textsPerCall: number;
  timeoutMs: number;
  priority?: string;
  tenant?: string;
  durationSecs: number;
  warmUpSecs: number;
  rounds: number;
  limit: boolean;
  modelFile?: string;
  against?: string;
  protocol?: 'tei' | 'openai' | 'kserve';
  againstModel?: string;
  againstTensors: 'text' | 'ids';
  json: boolean;
  report?: string;
}

/** The server's own addresses, and where its models lie. */
const SETTINGS = ['serverAddress', 'host', 'grpcPort', 'httpPort', 'metricsPort', 'modelRepository'] as const;

/** Adds all flags of `nereid bench`. */
export function addBenchOptions(command: Command): Command {
  addSettings(command, SETTINGS.map(settingOf));
  const add = (flags: string, description: string) => command.addOption(new Option(flags, description));
  const choice = (flags: string, description: string, choices: readonly string[]) =>
    new Option(flags, description).choices(choices);
  add('--http-url <url>', 'HTTP door of the server (default: from host and http-port)');
  add('--metrics-url <url>', 'Prometheus metrics of the server (default: from host and metrics-port)');
  command.addOption(
    choice('--over <door>', 'door of the server', ['grpc', 'http', 'http-json']).default('grpc'),
  );
  command.addOption(
    choice('--mode <mode>', 'a call per request, or one stream for all', ['unary', 'stream']).default(
      'unary',
    ),
  );
  add('--model <name>', 'model that embeds (default: the only one)');
  command
    .option('--concurrency <n>', 'calls in flight: each caller waits for its answer', whole, 32)
    .option('--rate <n>', 'calls a second instead, whatever the server does (Poisson arrivals)', positive)
    .option(
      '--tokens <lengths>',
      'lengths of the texts: 16, 5-20, or a JSON file such as {"5-20": 9, "300": 1}',
      '5-20',
    )
    .option('--texts <file>', 'texts of yours instead, one a line')
    .option('--texts-per-call <n>', 'texts in each call', whole, 1)
    .option(
      '--timeout-ms <n>',
      'deadline of each call; counts from when it was due (0: none)',
      notNegative,
      0,
    )
    .addOption(choice('--priority <level>', 'how urgent the calls are', ['interactive', 'default', 'bulk']))
    .option('--tenant <name>', 'whom the calls belong to')
    .option('--duration-secs <n>', 'length of each measurement', positive, 5)
    .option('--warm-up-secs <n>', 'load before each measurement', notNegative, 1)
    .option('--rounds <n>', 'measurements of each; medians count', whole, 3)
    .option('--no-limit', 'do not measure what ONNX Runtime alone can do on this machine')
    .option('--model-file <file>', 'ONNX file for that (default: the served version in the repository)')
    .option('--against <url>', 'another server that gets the same load in turns')
    .addOption(choice('--protocol <name>', 'what the other server speaks', ['tei', 'openai', 'kserve']))
    .option('--against-model <name>', 'its name of the model (default: the served name)')
    .addOption(
      choice('--against-tensors <what>', 'what its KServe model takes', ['text', 'ids']).default('text'),
    )
    .option('--json', 'print JSON', false)
    .option('--report <file>', 'also write the report as markdown');
  return command;
}

/**
 * Refuses flags that do not go together.
 * @throws CommandFailure
 */
export function checkBenchOptions(options: BenchOptions): void {
  const refuse = (message: string) => {
    throw new CommandFailure(message, { exitCode: exitCodes.usage });
  };
  const { against, protocol, mode, over } = options;
  if (against !== undefined && protocol === undefined)
    refuse('--against needs --protocol tei, openai or kserve: what the other server speaks.');
  if (against === undefined && protocol !== undefined)
    refuse('--protocol says what the server of --against speaks, which is not given.');
  if (mode === 'stream' && over !== 'grpc') refuse('--mode stream goes over gRPC only.');
  for (const [flag, url] of [
    ['--against', against],
    ['--http-url', options.httpUrl],
    ['--metrics-url', options.metricsUrl],
  ] as const)
    if (url !== undefined && !(URL.canParse(url) && /^http:\/\//.test(url)))
      refuse(`${flag} must be an address such as http://127.0.0.1:3000, not ${JSON.stringify(url)}`);
}

function whole(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1) return value;
  throw new InvalidArgumentError('It must be a whole number, at least 1.');
}

function positive(text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError('It must be a number above 0.');
}

function notNegative(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value >= 0) return value;
  throw new InvalidArgumentError('It must be a number, at least 0.');
}

import {
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
  toJson,
} from '@bufbuild/protobuf';
import { Command } from 'commander';
import { settingOf } from '../config/settings.ts';
import { addSettings, configOf } from '../options.ts';
import { ModelServer } from './model-server.ts';

const ADDRESS = (['serverAddress', 'host', 'grpcPort'] as const).map(settingOf);

/** A command that asks a running model server: its address, and `--json`. */
export function serverCommand(name?: string): Command {
  return addSettings(new Command(name), ADDRESS).option('--json', 'print JSON');
}

/** A command for those who may administrate: with `--admin-key` too. */
export function adminCommand(name: string): Command {
  return addSettings(new Command(name), [...ADDRESS, settingOf('adminKey')]).option('--json', 'print JSON');
}

/** What is called, and how its reply is shown to a person. */
export interface Ask<I extends DescMessage, O extends DescMessage> {
  method: DescMethodUnary<I, O>;
  request: MessageInitShape<I>;
  show: (reply: MessageShape<O>) => string;
  timeoutMs?: number;
  /** Told on a terminal while the answer is awaited. */
  waiting?: string;
}

/**
 * Calls the server that the command's flags name and prints the reply, as JSON if `--json` was given.
 * @throws ConfigError, CommandFailure
 */
export async function ask<I extends DescMessage, O extends DescMessage>(
  self: Command,
  { method, request, show, timeoutMs, waiting }: Ask<I, O>,
): Promise<void> {
  const { serverAddress, adminKey } = configOf(self, []);
  using server = new ModelServer(serverAddress, adminKey);
  const done = tellWaiting(waiting);
  const reply = await server.call(method, request, timeoutMs).finally(done);
  const asJson = self.getOptionValue('json') === true;
  const output: DescMessage = method.output;
  console.log(asJson ? JSON.stringify(toJson(output, reply), null, 2) : show(reply));
}

/** Writes a line on standard error, which the returned function takes away; nothing where nobody looks. */
function tellWaiting(what: string | undefined): () => void {
  const { stderr } = process;
  if (what === undefined || !stderr.isTTY) return () => undefined;
  stderr.write(`${what} ...`);
  return () => void stderr.write('\r\x1b[K');
}

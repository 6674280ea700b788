import { z } from 'zod';
import { serverConfigSchema } from '../../model-server/config.ts';
import { ragConfigSchema } from '../../orchestrator/config.ts';

/** Both programs' settings as one schema; what they share (`host`, `logLevel`) is one setting for both. */
export const settingsSchema = z.object({ ...ragConfigSchema.shape, ...serverConfigSchema.shape });

export type Settings = z.infer<typeof settingsSchema>;
export type SettingKey = keyof Settings;
export type Program = 'server' | 'rag';

/** One setting as flag, environment variable and key of nereid.yaml; all of it comes from the schemas. */
export interface Setting {
  key: SettingKey;
  /** Key in nereid.yaml, and the flag without its dashes. */
  name: string;
  env: string;
  description: string;
  secret: boolean;
  programs: readonly Program[];
  kind: 'boolean' | 'number' | 'text';
  /** As text; undefined when there is none. */
  defaultText: string | undefined;
  choices: readonly string[];
  /** For messages: `a whole number from 0 to 65535`. */
  allowed: string;
}

interface Shape {
  type?: string | string[];
  default?: unknown;
  enum?: string[];
  format?: string;
  minLength?: number;
  minimum?: number;
  exclusiveMinimum?: number;
  maximum?: number;
  anyOf?: Shape[];
}

/** Every setting, the shared ones first. */
export const settings: readonly Setting[] = (Object.keys(settingsSchema.shape) as SettingKey[])
  .map(describe)
  .sort((a, b) => b.programs.length - a.programs.length);

const byKey = new Map(settings.map((setting) => [setting.key, setting]));

/** The setting of a schema key. */
export function settingOf(key: SettingKey): Setting {
  return byKey.get(key)!;
}

/** The settings that a program reads. */
export function settingsOf(...programs: readonly Program[]): Setting[] {
  return settings.filter((setting) => setting.programs.some((program) => programs.includes(program)));
}

function describe(key: SettingKey): Setting {
  const schema = settingsSchema.shape[key];
  const meta: Record<string, unknown> = schema.meta() ?? {};
  const shape = z.toJSONSchema(schema, { io: 'input' }) as Shape;
  const name = kebab(key);
  const programs: Program[] = [];
  if (key in serverConfigSchema.shape) programs.push('server');
  if (key in ragConfigSchema.shape) programs.push('rag');
  const defaultValue = schema.safeParse(undefined).data;
  return {
    key,
    name,
    env: typeof meta.env === 'string' ? meta.env : `NEREID_${name.replaceAll('-', '_').toUpperCase()}`,
    description: String(meta.description ?? ''),
    secret: meta.secret === true,
    programs,
    kind: kindOf(shape),
    defaultText: defaultValue === undefined ? undefined : String(defaultValue),
    choices: shape.enum ?? [],
    allowed: allowedBy(shape),
  };
}

function kindOf(shape: Shape): Setting['kind'] {
  // A boolean is declared as text or boolean, so that it can be read from the environment.
  const types = [shape.type, ...(shape.anyOf ?? []).map(({ type }) => type)].flat();
  if (types.includes('boolean')) return 'boolean';
  return shape.type === 'integer' || shape.type === 'number' ? 'number' : 'text';
}

function allowedBy(shape: Shape): string {
  if (shape.enum !== undefined) return `one of ${shape.enum.join(', ')}`;
  const kind = kindOf(shape);
  if (kind === 'boolean') return 'true or false';
  if (kind === 'text') return textAllowed(shape);
  const least =
    shape.minimum ?? (shape.exclusiveMinimum === undefined ? undefined : shape.exclusiveMinimum + 1);
  const most = shape.maximum === Number.MAX_SAFE_INTEGER ? undefined : shape.maximum;
  const noun = shape.type === 'integer' ? 'a whole number' : 'a number';
  if (least === undefined && most === undefined) return noun;
  if (most === undefined) return `${noun}, at least ${least}`;
  return least === undefined ? `${noun}, at most ${most}` : `${noun} from ${least} to ${most}`;
}

function textAllowed(shape: Shape): string {
  if (shape.format === 'uri') return 'a URL such as http://host:port';
  return shape.minLength === undefined ? 'text' : 'text that is not empty';
}

function kebab(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

// Where a model is: a directory, or a repository in the standard Hugging Face cache; and which files of it there are.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { OpabiniaError } from '../../dsl/error.ts';
import { readRegular, statOf } from '../files/regular-file.ts';
import { leadsOut } from './links.ts';
import { requirePath } from '../../dsl/graph/required.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** The cache of the hub's own tools: `HF_HUB_CACHE`, then `HF_HOME/hub`, then `~/.cache/huggingface/hub`. */
export function hubCache(env: Environment = process.env): string {
  const home = env['HF_HOME'] ?? join(env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'huggingface');
  return env['HF_HUB_CACHE'] ?? env['HUGGINGFACE_HUB_CACHE'] ?? join(home, 'hub');
}

/** Whether `HF_HUB_OFFLINE` forbids the network. */
export function isOffline(env: Environment = process.env): boolean {
  return ['1', 'ON', 'YES', 'TRUE'].includes((env['HF_HUB_OFFLINE'] ?? '').toUpperCase());
}

export interface RepoName {
  /** `owner/name`, or `name` of the oldest repositories. */
  readonly repo: string;
  readonly revision: string;
}

const repoPattern = /^(?:[A-Za-z0-9][\w.-]{0,95}\/)?[A-Za-z0-9][\w.-]{0,95}$/;

/** `owner/name[@revision]`; undefined for what cannot be one. The revision is `main` by default. */
export function parseRepo(text: string): RepoName | undefined {
  const [repo = '', revision = 'main', ...more] = text.split('@');
  const legal =
    repoPattern.test(repo) &&
    !repo.includes('..') &&
    !repo.includes('--') &&
    /^[\w./-]{1,200}$/.test(revision) &&
    !revision.includes('..') &&
    !revision.startsWith('/');
  return more.length === 0 && legal ? { repo, revision } : undefined;
}

/** The folder of a repository inside the cache. */
export function repoFolder(cache: string, repo: string): string {
  return join(cache, ['models', ...repo.split('/')].join('--'));
}

/** The snapshot of a repository in the cache, if it is there: by commit, by the start of one, or by branch or tag. */
export function cachedSnapshot({ repo, revision }: RepoName, env: Environment = process.env): string | undefined {
  const folder = repoFolder(hubCache(env), repo);
  const snapshots = join(folder, 'snapshots');
  const ref = join(folder, 'refs', revision);
  const commit =
    statSync(ref, { throwIfNoEntry: false })?.isFile() === true ? readFileSync(ref, 'utf8').trim() : revision;
  if (/^[0-9a-f]{40}$/.test(commit) && existsSync(join(snapshots, commit))) return join(snapshots, commit);
  if (!/^[0-9a-f]{7,39}$/.test(commit) || !existsSync(snapshots)) return undefined;
  const found = readdirSync(snapshots).filter((name) => name.startsWith(commit));
  return found.length === 1 ? join(snapshots, found[0] ?? '') : undefined;
}

/**
 * A directory as it is, or the snapshot of `owner/name[@revision]` in the cache. Throws `OpabiniaError`; downloads nothing.
 * @example const directory = resolveModel('owner/name')
 */
export function resolveModel(model: string, env: Environment = process.env): string {
  requirePath('resolveModel', model, 'the model', "resolveModel('owner/name')");
  const found = statOf(model, 'resolveModel');
  if (found?.isDirectory() === true) return model;
  if (found !== undefined)
    throw new OpabiniaError(`${model} is a file, and a model is a directory`, {
      op: 'resolveModel',
      advice: `give ${dirname(model)}`,
    });
  const name = parseRepo(model);
  if (name === undefined)
    throw new OpabiniaError(`there is no directory ${model}`, {
      op: 'resolveModel',
      advice: 'give a model directory, or a repository as owner/name[@revision]',
    });
  const snapshot = cachedSnapshot(name, env);
  if (snapshot !== undefined) return snapshot;
  const offline = isOffline(env) ? ', and HF_HUB_OFFLINE forbids fetching it' : '';
  throw new OpabiniaError(
    `there is no directory ${model}, and the cache ${hubCache(env)} has no repository ${name.repo} at revision ${name.revision}${offline}`,
    {
      op: 'resolveModel',
      advice: isOffline(env) ? 'give the path of a directory, or unset HF_HUB_OFFLINE' : `\`opabinia fetch ${model}\``,
    },
  );
}

// ---- the files of a model --------------------------------------------------------------------------------------------

/** Paths of the files that are there. */
export interface ModelFiles {
  readonly directory: string;
  readonly config: string | undefined;
  /** open_clip's own config, of towers that have no `config.json` of their own. */
  readonly openClipConfig: string | undefined;
  readonly generationConfig: string | undefined;
  readonly preprocessorConfig: string | undefined;
  readonly tokenizer: string | undefined;
  readonly tokenizerConfig: string | undefined;
  /** Beside it in older directories: tokens that are only there, and what the special ones are called. */
  readonly addedTokens: string | undefined;
  readonly specialTokens: string | undefined;
  readonly chatTemplate: string | undefined;
  /** What `openCheckpoint` takes: one file, or the index of its shards. */
  readonly weights: string | undefined;
  /** What one file says of all this by itself, instead of files beside it. */
  readonly stated?:
    | {
        readonly chatTemplate: string | undefined;
        /** `bos_token`, `eos_token`, … by their spelling. */
        readonly tokens: Readonly<Record<string, unknown>>;
        /** As `preprocessor_config.json` would have it. */
        readonly processor?: Readonly<Record<string, unknown>> | undefined;
      }
    | undefined;
}

/** In order of preference. */
export const weightNames: readonly string[] = [
  'model.safetensors',
  'model.safetensors.index.json',
  'open_clip_model.safetensors',
  'open_clip_pytorch_model.safetensors',
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
  'open_clip_pytorch_model.bin',
];

/**
 * What a model directory holds. Throws `OpabiniaError` when it is none, or a file is a link that leads out of it.
 * @example const { config } = modelFiles(resolveModel('owner/name'))
 */
export function modelFiles(directory: string): ModelFiles {
  requirePath('modelFiles', directory, 'the directory', "modelFiles('path/to/model')");
  if (statOf(directory, 'modelFiles')?.isDirectory() !== true)
    throw new OpabiniaError(`there is no directory ${directory}`, { op: 'modelFiles', advice: 'check the path' });
  const first = (...names: readonly string[]): string | undefined => {
    const name = names.find((candidate) => existsSync(join(directory, candidate)));
    return name === undefined ? undefined : inside(directory, name);
  };
  return {
    directory,
    config: first('config.json'),
    openClipConfig: first('open_clip_config.json'),
    generationConfig: first('generation_config.json'),
    preprocessorConfig: preprocessorOf(first('processor_config.json'), first('preprocessor_config.json')),
    tokenizer: first('tokenizer.json', 'tokenizer.model'),
    tokenizerConfig: first('tokenizer_config.json'),
    addedTokens: first('added_tokens.json'),
    specialTokens: first('special_tokens_map.json'),
    chatTemplate: first('chat_template.jinja', 'chat_template.json'),
    weights: first(...weightNames),
  };
}

/**
 * The file that says how pictures are made. Saved by transformers 5, `processor_config.json` holds an `image_processor`; an older
 * file beside it is then a leftover. Before, it held other things, and did not matter where there was a `preprocessor_config.json`.
 */
function preprocessorOf(processor: string | undefined, preprocessor: string | undefined): string | undefined {
  if (processor === undefined || preprocessor === undefined) return processor ?? preprocessor;
  const json = readJsonFile(processor);
  return typeof json === 'object' && json !== null && 'image_processor' in json ? processor : preprocessor;
}

/** The path, or an error that says which of the files that a model needs is not there. */
export function needFile(path: string | undefined, name: string, files: ModelFiles): string {
  if (path !== undefined) return path;
  const names = readdirSync(files.directory).slice(0, 12);
  throw new OpabiniaError(`${files.directory} has no ${name}`, {
    op: 'modelFiles',
    advice: `a Hugging Face model directory has one; this has ${names.length === 0 ? 'no files' : names.join(', ')}`,
  });
}

function inside(directory: string, name: string): string {
  const path = join(directory, name);
  if (leadsOut(directory, path))
    throw new OpabiniaError(`${path} is a link that leads out of its directory`, {
      op: 'modelFiles',
      advice: 'copy the file there',
    });
  return path;
}

const jsonLimit = 10_000_000;

/** A JSON file of at most `limit` bytes. Throws `OpabiniaError` that names the file, and the place of a mistake in it. */
export function readJsonFile(path: string, limit = jsonLimit): unknown {
  const text = readTextFile(path, limit);
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new OpabiniaError(`${path} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, {
      op: 'readJsonFile',
      cause,
      advice: 'the file is damaged; get it again',
    });
  }
}

/** A UTF-8 file of at most `limit` bytes. Throws `OpabiniaError`. */
export function readTextFile(path: string, limit: number): string {
  const bytes = readRegular(path, limit, 'readTextFile');
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new OpabiniaError(`${path} is not UTF-8`, {
      op: 'readTextFile',
      cause,
      advice: 'the file is damaged; get it again',
    });
  }
}

/**
 * The directory of a vision tower that a model names but does not hold: `given`, else `towers/{last part of its name}` beside the
 * model, else one of `repos` in the cache. Throws `OpabiniaError` that says where it was looked for.
 */
export function resolveTower(
  model: string,
  name: string,
  repos: readonly string[],
  given?: string,
  env: Environment = process.env,
): string {
  if (given !== undefined) return resolveModel(given, env);
  const last = name.split('/').at(-1) ?? name;
  const beside = join(model, 'towers', last);
  if (/^[\w.-]+$/.test(last) && !last.startsWith('.') && statOf(beside, 'resolveTower')?.isDirectory() === true)
    return beside;
  const names = repos.map(parseRepo).filter((repo) => repo !== undefined);
  const cached = names.map((repo) => cachedSnapshot(repo, env)).find((snapshot) => snapshot !== undefined);
  if (cached !== undefined) return cached;
  throw new OpabiniaError(
    `the vision tower '${name}' is neither in ${beside} nor in the cache ${hubCache(env)}${repos.length === 0 ? '' : ` as ${repos.join(' or ')}`}`,
    {
      op: 'resolveTower',
      advice: repos.length === 0 ? `put it into ${beside}` : `\`opabinia fetch ${repos[0] ?? ''}\``,
    },
  );
}

// What differs between the families of models that answer: their graphs, and how questions and pictures become the inputs of prefill.
import type { Graph } from '../../dsl/index.ts';
import type { ConfigJson } from '../../models/configs/fields.ts';
import type { AnyConnector } from '../../models/connectors/connector.ts';
import type { Turn } from '../../models/sequence/conversation.ts';
import type { LanguageModel } from '../../models/decoders/decoder.ts';
import type { GenerationSizes } from '../../models/decoders/generation-graphs.ts';
import type { DecodeParts } from '../../models/decoders/row-graphs.ts';
import type { Shapes } from '../../models/configs/param-shapes.ts';
import type { SamplingOptions } from '../../models/decoders/sampling.ts';
import type { ModelFiles } from '../../runtime/checkpoint/hub.ts';
import type { Image } from '../../runtime/image/image.ts';
import type { Source } from '../../runtime/checkpoint/joined-source.ts';
import type { Ignored, Match } from '../../runtime/checkpoint/match.ts';
import type { Inputs } from '../../runtime/program/program.ts';
import type { SandboxTokenizer } from '../../runtime/text/open-tokenizer.ts';

export interface Question {
  readonly text: string;
  /** Those of earlier turns first, as many as the turns say; the rest stand in front of the text. */
  readonly images?: readonly Image[] | undefined;
  /** Instead of the template's own words. */
  readonly system?: string | undefined;
  /** What was said before, the user first. */
  readonly history?: readonly Turn[] | undefined;
}

/** How the released Cambrians find the image block: at the constant of their config, or where it really stands. */
export type BlockPosition = 'reference' | 'true';

export interface PromptOptions extends SamplingOptions {
  readonly seed?: number | undefined;
  /** Of Cambrian. By default the reference's, where it can be right: the template's own system words, and one image a prompt. */
  readonly position?: BlockPosition | undefined;
}

export interface AnswerSizes extends GenerationSizes {
  /** Pictures in all prompts together. */
  readonly imageLimit: number;
}

/** One run of the graph of pictures. */
export interface View {
  readonly symbols: Readonly<Record<string, number>>;
  /** Made when it is run: pixels of many pictures need not be there at once. */
  readonly inputs: () => Inputs;
  /** Where each size of picture has a graph of its own, instead of the family's. */
  readonly graph?: { readonly key: string; readonly make: (sizes: AnswerSizes) => Graph } | undefined;
}

/** An input of prefill with a row for each prompt; rows without a question hold `otherwise`. */
export interface RowInput {
  readonly values: Int32Array;
  readonly otherwise: number;
}

/** Questions as prompts, padded on the right: enough to know whether they fit. */
export interface LaidOut {
  /** Tokens of the longest prompt, those of its pictures included. */
  readonly width: number;
  /** Tokens of each prompt. */
  readonly lengths: Int32Array;
  /** Tokens of text of each prompt. */
  readonly ids: readonly (readonly number[])[];
  /** Pictures of all prompts together. */
  readonly pictures: number;
  /** What is run before prefill, in order. */
  readonly views: readonly View[];
  /** Inputs `prompts × width`, `ids` among them. */
  readonly rows: Readonly<Record<string, RowInput>>;
  /** Further inputs and symbols of prefill, whatever the number of rows. */
  readonly inputs: Inputs;
  readonly symbols: Readonly<Record<string, number>>;
}

/** One model of a family. */
export interface Family {
  readonly language: LanguageModel;
  /** One view of a picture; its tokens go into states that prefill reads. Absent where a model reads text only. */
  readonly vision: ((sizes: AnswerSizes) => Graph) | undefined;
  /** It sees all the same: views bring their own graphs. */
  readonly seesByView?: boolean | undefined;
  readonly prefill: (sizes: AnswerSizes) => Graph;
  readonly decode: (sizes: AnswerSizes) => Graph;
  /** What decoding by rows (`rowDecodeGraph`) needs to know of this family. */
  readonly decodeParts: DecodeParts;
  /** Throws `OpabiniaError` for what this model cannot be asked. */
  readonly layOut: (questions: readonly Question[], options: PromptOptions) => Promise<LaidOut>;
}

// ---- opening ---------------------------------------------------------------------------------------------------------

/** A directory whose config is read and whose weights are not opened yet. */
export interface Opening {
  readonly directory: string;
  readonly files: ModelFiles;
  readonly json: ConfigJson;
  /** Directories of the towers that the user gave. */
  readonly towers: readonly string[] | undefined;
  /** Connectors of the user's own. */
  readonly connectors: readonly AnyConnector[] | undefined;
}

/** A checkpoint beside the main one. */
export interface TowerCheckpoint {
  /** Below which its parameters stand in the source of all. */
  readonly root: string;
  readonly files: ModelFiles;
  readonly config: string;
  /** What says how its pictures are made, where the family reads that. */
  readonly processor?: string | undefined;
  readonly weights: string;
  /** Its weights against its config. */
  readonly match: (stored: Shapes) => Match;
}

/** A part of a model. Parts stand in the order in which a picture comes by, towers first; a parameter is of the first that owns it. */
export interface ModelPart {
  readonly name: string;
  readonly owns: (path: string) => boolean;
  readonly isTower?: boolean | undefined;
}

/** With what it is, in words. */
export interface DescribedPart extends ModelPart {
  readonly what: string;
}

/** What a checkpoint must hold. */
export interface Wanted {
  readonly shapes: Shapes;
  /** What it may hold besides. */
  readonly ignored?: Ignored | undefined;
  /** Whose names the tensors have. */
  readonly layout: string;
}

/** What a family knows before the weights are opened. */
export interface FamilyPlan {
  readonly language: LanguageModel;
  /** Whether photographs are turned as the camera was held, as this family's own code does. */
  readonly upright: boolean;
  readonly towers: readonly TowerCheckpoint[];
  /** What it is, for people. */
  readonly title: string;
  readonly parts: readonly DescribedPart[];
  /** Names of files that others read and this family does not, each with the reason. */
  readonly unread?: Readonly<Record<string, string>> | undefined;
  /** What the main checkpoint must hold; names may depend on who wrote it. */
  readonly wanted: (stored: Shapes) => Wanted;
  /** Throws `OpabiniaError` for a tokenizer that is not that of the config. */
  readonly checkTokenizer?: ((tokenizer: SandboxTokenizer) => void) | undefined;
  readonly family: (source: Source, tokenizer: SandboxTokenizer) => Family;
}

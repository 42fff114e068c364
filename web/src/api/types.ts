// Names for the types of the hub's answers. They are made from its OpenAPI document (schema.ts) and
// written nowhere else.
import type { components } from "./schema";

type Schemas = components["schemas"];

export type Agent = Schemas["Agent"];
export type Host = Schemas["FleetHost"];
export type Fleet = Schemas["Fleet"];
export type Measures = Schemas["Measures"];
export type About = Schemas["About"];
export type Blame = Schemas["Blame"];
export type Culprits = Schemas["Culprits"];
export type Share = Schemas["Share"];
export type Process = Schemas["Process"];
export type Processes = Schemas["Processes"];
export type Unit = Schemas["Unit"];
export type Units = Schemas["Units"];
export type AgentEvent = Schemas["Event"];
export type Events = Schemas["Events"];
export type Coverage = Schemas["Coverage"];
export type Whoami = Schemas["Whoami"];
export type Problem = Schemas["Problem"];
export type JoinToken = Schemas["JoinToken"];
export type TokenMade = Schemas["TokenMade"];
export type User = Schemas["User"];
export type SignInLink = Schemas["SignInLink"];
export type ApiToken = Schemas["ApiToken"];
export type ApiTokenMade = Schemas["ApiTokenMade"];
export type AuditPage = Schemas["AuditPage"];
export type AuditProof = Schemas["AuditProof"];
export type LogPage = Schemas["LogPage"];
export type Job = Schemas["Job"];
export type Limits = Schemas["Limits"];
export type Target = Schemas["Target"];
export type Matches = Schemas["Matches"];
export type Run = Schemas["Run"];
export type RunState = Run["state"];
export type Cause = Schemas["RunCause"];
export type Outcome = Schemas["RunOutcome"];
export type RunList = Schemas["RunList"];
export type RunGap = Schemas["RunGap"];
export type LiveRuns = Schemas["FleetRuns"];
export type LiveRun = Schemas["FleetRun"];
export type RunsOrdered = Schemas["RunsOrdered"];
export type RunStats = Schemas["RunStats"];
export type RunSample = Schemas["RunSample"];
export type LogRow = Schemas["LogRow"];
export type KillAnswer = Schemas["KillAnswer"];
export type Queue = Schemas["QueueView"];
export type Queues = Schemas["QueueList"];
export type HubJob = Schemas["HubJob"];
export type HostJob = Schemas["HostJob"];
export type JobList = Schemas["JobList"];
export type JobWish = Schemas["JobWish"];
export type JobCheck = Schemas["JobCheck"];
export type QuestionsAsked = Schemas["Questions"];
export type ColumnsAnswer = Schemas["Columns"];
export type Role = Whoami["role"];

/** A series of PromQL's answers. */
export interface Vector {
  metric: Record<string, string>;
  value?: [number, string];
  values?: [number, string][];
}
export interface Queried {
  resultType: "vector" | "matrix" | "scalar" | "string";
  result: Vector[];
  warnings: string[];
}

package otlp

// Schema is the version of the semantic conventions that the names below are from: the
// last of the core repository that has those for generative AI and MCP.
const Schema = "https://opentelemetry.io/schemas/1.41.0"

// Names of the conventions for generative AI and MCP that the spans of acts have. An act
// of an agent is the execution of a tool, which is the network's.
const (
	GenAIOperation      = "gen_ai.operation.name"
	GenAIAgentID        = "gen_ai.agent.id"
	GenAIAgentName      = "gen_ai.agent.name"
	GenAIConversation   = "gen_ai.conversation.id"
	GenAITool           = "gen_ai.tool.name"
	GenAIExecuteTool    = "execute_tool" // a value of GenAIOperation
	MCPMethod           = "mcp.method.name"
	MCPSession          = "mcp.session.id"
	MCPProtocol         = "mcp.protocol.version"
	JSONRPCRequest      = "jsonrpc.request.id"
	ErrorType           = "error.type"
	genAIInputs         = "gen_ai.input.messages"
	genAIOutputs        = "gen_ai.output.messages"
	genAIInstructions   = "gen_ai.system_instructions"
	genAIToolArguments  = "gen_ai.tool.call.arguments"
	genAIToolResult     = "gen_ai.tool.call.result"
	genAIToolDefs       = "gen_ai.tool.definitions"
	genAIDocuments      = "gen_ai.retrieval.documents"
	genAIExplanation    = "gen_ai.evaluation.explanation"
	exceptionMessage    = "exception.message"
	exceptionStacktrace = "exception.stacktrace"
)

// Names of our own, for which there are no conventions.
const (
	Network          = "reef.network" // of several that one process serves; absent for the default one
	PrincipalKind    = "reef.principal.kind"
	PrincipalID      = "reef.principal.id"
	PrincipalName    = "reef.principal.name"
	PrincipalBinding = "reef.principal.binding"
	PrincipalChain   = "reef.principal.chain" // on whose behalf, outermost first
	TargetID         = "reef.target.id"
	TargetKind       = "reef.target.kind"
	TargetVersion    = "reef.target.version"
	MadeID           = "reef.made.id"
	MadeKind         = "reef.made.kind"
	MadeVersion      = "reef.made.version"
	ContentHash      = "reef.content.sha256" // salted; the leaf has the same
	Outcome          = "reef.outcome"
	Code             = "reef.code"
	Rule             = "reef.rule"
	Decision         = "reef.decision" // allow, deny or hold
	PolicyID         = "reef.policy.id"
	PolicyBundle     = "reef.policy.bundle"
	Shown            = "reef.shown" // how many things of others a read has shown
	LinkKind         = "reef.link.kind"
	LinkLevel        = "reef.link.level" // evidence level: L3, L1
	LinkItem         = "reef.link.item"
	LinkItemKind     = "reef.link.item.kind"
	LinkVersion      = "reef.link.item.version"
	LinkEdge         = "reef.link.edge" // reply, vote and so on
)

// Values of LinkKind.
const (
	LinkInfluence = "influence" // to the act that made something that its actor had been shown
	LinkCaller    = "caller"    // to the span that the caller says it asked under
)

// content lists the attributes whose values are, or repeat, what somebody wrote.
var content = map[string]bool{
	genAIInputs: true, genAIOutputs: true, genAIInstructions: true, genAIToolArguments: true, genAIToolResult: true,
	genAIToolDefs: true, genAIDocuments: true, genAIExplanation: true, exceptionMessage: true, exceptionStacktrace: true,
	"gen_ai.prompt": true, "gen_ai.completion": true, // of older conventions
}

// Content reports whether the value of an attribute of that name is content, which is
// kept as a hash only.
func Content(name string) bool { return content[name] }

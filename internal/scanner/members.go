package scanner

import (
	"bytes"
	"strings"
)

// What a member of an event says by its name.
type memberFlags uint16

const (
	memberText   memberFlags = 1 << iota // what is in it adds to a text, as all dialects that are known have it
	memberChoice                         // and only an index says to which
	memberSure                           // and all that tells texts apart is known
	memberLabel                          // it says what something is, and adds to no text
	memberMaybe                          // so it does where the dialect is not known
	memberProse                          // a string in it is text even if it repeats itself
	memberInline                         // the elements of an array in it add to one text
	memberStrict                         // its value says to which text something adds
	memberFirm                           // so does this, by number or name
	memberID                             // so it may, or it may count the events
	memberIndex                          // the number of an element of an array
	memberEnd                            // its value may say that a text is complete
	memberBinary                         // base64 of what is no text

	memberTells = memberStrict | memberFirm | memberID | memberIndex | memberEnd
)

// members says what is known by name alone.
var members = makeMembers()

func makeMembers() map[string]memberFlags {
	m := map[string]memberFlags{}
	for flags, names := range map[memberFlags]string{
		memberText:                "delta",
		memberText | memberSure:   "candidates",
		memberText | memberChoice: "choices",
		memberLabel: `role name object model finish_reason finishReason native_finish_reason stop_reason stop_sequence status
			signature thoughtSignature thought_signature mimeType mime_type media_type format encrypted_content obfuscation fingerprint
			system_fingerprint service_tier usage usageMetadata`,
		memberMaybe: `timestamp time ts date version provider method jsonrpc level logger model_name model_version
			modelVersion lang language uri href headers metadata response_metadata usage_metadata ls_provider ls_model_name
			ls_model_type langgraph_node checkpoint_ns langgraph_checkpoint_ns token_type code_language progressToken
			nextCursor cursor`,
		memberProse: `content text arguments partial_json thinking reasoning reasoning_content refusal completion response answer
			value input args output message token delta generated_text summary`,
		memberInline:               "parts logprobs",
		memberStrict | memberLabel: "type event op path kind jsonPath thought",
		memberFirm | memberLabel: `output_index content_index summary_index item_id toolCallId tool_call_id messageId message_id
			contentBlockIndex contentIndex`,
		memberIndex:  "index",
		memberEnd:    "done stop final lastChunk is_finished isFinished finished",
		memberBinary: "inlineData inline_data audio b64_json partial_image_b64 encrypted",
	} {
		for _, name := range strings.Fields(names) {
			m[name] |= flags
		}
	}
	for _, name := range []string{"finish_reason", "finishReason", "stop_reason", "type"} {
		m[name] |= memberEnd
	}
	return m
}

// flagsOf is what a member's name says.
func flagsOf(name string) memberFlags {
	flags := members[name]
	switch {
	case strings.HasSuffix(name, "Delta") || strings.HasSuffix(name, "_delta"):
		flags |= memberText
	case flags != 0:
	case name == "id" || strings.HasSuffix(name, "_id") || strings.HasSuffix(name, "Id") || strings.HasSuffix(name, "ID"):
		flags |= memberID | memberLabel
	case strings.HasSuffix(name, "_index") || strings.HasSuffix(name, "Index"):
		flags |= memberFirm | memberLabel
	case strings.HasPrefix(name, "created") || strings.HasPrefix(name, "updated") || strings.HasSuffix(name, "_at") ||
		strings.HasSuffix(name, "At") || strings.HasSuffix(name, "_model") || strings.HasSuffix(name, "_reason"):
		flags |= memberMaybe
	}
	return flags
}

// endings are how the types of events end that say that a text is complete.
var endings = []string{"_stop", ".done", ".completed", ".failed", ".incomplete", "-end", "finish", "error", "_END", "_FINISHED"}

// ends says whether a value of a member that may says that a text is complete.
func ends(name string, value []byte) bool {
	switch name {
	case "type":
		for _, end := range endings {
			if bytes.HasSuffix(value, []byte(end)) {
				return true
			}
		}
		return false
	case "finish_reason", "finishReason", "stop_reason":
		return string(value) != "null"
	}
	return string(value) == "true"
}

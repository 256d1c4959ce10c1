package export

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/superinstance/keeper/internal/store"
)

const ocsfVersion = "1.5.0"

// ocsfClasses are the classes' numbers and names, and which details they hold
// outside of unmapped.
var ocsfClasses = map[class]struct {
	uid      int
	name     string
	category string // its number is uid / 1000
	mapped   []string
}{
	apiActivity: {6003, "API Activity", "Application Activity", []string{
		"path", "route", "code", "reason", "count", "durationMs", "by", "source", "jti", "label", "requestBytes"}},
	authentication: {3002, "Authentication", "Identity & Access Management", []string{
		"code", "reason", "count", "by", "source", "jti"}},
	detection:     {2004, "Detection Finding", "Findings", []string{"path", "by", "source", "findings"}},
	accountChange: {3001, "Account Change", "Identity & Access Management", []string{"by", "source"}},
	lifecycle:     {6002, "Application Lifecycle", "Application Activity", []string{"reason"}},
}

// ocsfEnum is a number of the schema and its caption.
type ocsfEnum struct {
	id   int
	name string
}

// ocsfActivities by class. What is not here is 99, Other, under the event's name.
var ocsfActivities = map[class]map[act]ocsfEnum{
	apiActivity:    {create: {1, "Create"}, look: {2, "Read"}, update: {3, "Update"}, remove: {4, "Delete"}},
	authentication: {begin: {1, "Logon"}, end: {2, "Logoff"}},
	detection:      {create: {1, "Create"}},
	accountChange:  {create: {1, "Create"}, enable: {2, "Enable"}, disable: {5, "Disable"}, remove: {6, "Delete"}},
	lifecycle:      {begin: {3, "Start"}, end: {4, "Stop"}},
}

// ocsfSeverities by risk; a risk that is not here is Unknown.
var ocsfSeverities = map[int]ocsfEnum{0: {1, "Informational"}, 1: {3, "Medium"}, 2: {5, "Critical"}}

var ocsfStatuses = map[result]ocsfEnum{success: {1, "Success"}, failure: {2, "Failure"}, unknown: {0, "Unknown"}}

// ocsfMethods are the methods that http_request.http_method may be.
var ocsfMethods = map[string]bool{
	"CONNECT": true, "DELETE": true, "GET": true, "HEAD": true, "OPTIONS": true, "POST": true, "PUT": true, "TRACE": true,
}

// appendOCSF writes e as an event of the Open Cybersecurity Schema Framework. A
// method that the schema does not know (PATCH is one), and all details without an
// attribute of their own, are in unmapped.
func appendOCSF(b []byte, e *store.AuditEntry, p Producer) []byte {
	r := read(e)
	o := ocsfBase(r, p)
	switch r.kind.class {
	case apiActivity:
		o.call(r)
	case authentication:
		o.authentication(r)
	case detection:
		o.detection(r)
	case accountChange:
		o.Actor, o.Source, o.User = ocsfActorOf(r), ocsfSource(r), ocsfUserOf(r.AgentID)
	case lifecycle:
		o.App = &ocsfProduct{Name: product, Vendor: vendor, Version: cmp.Or(r.release(), p.Version)}
	}
	o.Unmapped = r.rest(ocsfMapped(r)...)
	return appendJSON(b, o)
}

// ocsfMapped are the details that have an attribute in the event of r.
func ocsfMapped(r *record) []string {
	mapped := slices.Clone(ocsfClasses[r.kind.class].mapped)
	switch r.kind.class {
	case apiActivity, detection:
		if ocsfMethods[r.Method] {
			mapped = append(mapped, "method")
		}
		if r.kind.class == apiActivity && r.httpStatus() != 0 {
			mapped = append(mapped, "status", "responseBytes")
		}
	case lifecycle:
		if r.release() != "" {
			mapped = append(mapped, "version")
		}
	}
	return mapped
}

// ocsfBase is what all classes have.
func ocsfBase(r *record, p Producer) *ocsfEvent {
	class := ocsfClasses[r.kind.class]
	activity, known := ocsfActivities[r.kind.class][r.kind.act]
	if !known {
		activity = ocsfEnum{99, r.Event}
	}
	severity, known := ocsfSeverities[r.Risk]
	if !known {
		severity = ocsfEnum{0, "Unknown"}
	}
	status := ocsfStatuses[r.result()]
	o := &ocsfEvent{
		ActivityID: activity.id, Activity: activity.name,
		CategoryUID: class.uid / 1000, Category: class.category,
		ClassUID: class.uid, Class: class.name, TypeUID: class.uid*100 + activity.id,
		Time: r.Time.UnixMilli(), SeverityID: severity.id, Severity: severity.name,
		StatusID: status.id, Status: status.name, StatusCode: r.Code, StatusDetail: r.Reason,
		Message: r.kind.title, Count: r.Count, Duration: r.DurationMS,
		Metadata: ocsfMetadata{
			Version: ocsfVersion, Product: ocsfProduct{Name: product, Vendor: vendor, Version: p.Version},
			UID: strconv.FormatInt(r.Seq, 10), Sequence: r.Seq,
			Correlation: r.RequestID, EventCode: r.Event, LogName: "audit",
		},
	}
	if p.Host != "" {
		o.Metadata.Loggers = []ocsfLogger{{p.Host}}
	}
	return o
}

func (o *ocsfEvent) call(r *record) {
	o.Actor, o.API, o.Source = ocsfActorOf(r), ocsfAPIOf(r), ocsfSource(r)
	o.Request, o.Response = ocsfRequestOf(r), ocsfResponseOf(r)
	if r.Provider != "" {
		o.Destination = &ocsfEndpoint{Service: r.Provider}
	}
	if r.Label != "" {
		o.Resources = append(o.Resources, ocsfResource{Type: "credential", Name: r.Label, Namespace: r.Provider})
	}
	if r.target() != "" {
		o.Resources = append(o.Resources, ocsfResource{Type: "agent", UID: r.target()})
	}
}

func (o *ocsfEvent) authentication(r *record) {
	o.Actor, o.Source, o.User = ocsfActorOf(r), ocsfSource(r), ocsfUserOf(r.AgentID)
	o.Service = &ocsfService{Name: product}
	if r.JTI != "" {
		o.Session = &ocsfSession{UID: r.JTI}
	}
}

// detection: the status of a finding is that of its handling, which begins here.
func (o *ocsfEvent) detection(r *record) {
	o.StatusID, o.Status, o.IsAlert = 1, "New", true
	o.Finding = &ocsfFinding{UID: o.Metadata.UID, Title: r.kind.title, Created: o.Time}
	if strings.HasPrefix(r.Event, "scan.") {
		o.secret(ocsfWhere(r), r.rules())
	}
	evidence := ocsfEvidence{
		Actor: ocsfActorOf(r), API: ocsfAPIOf(r), Source: ocsfSource(r), Request: ocsfRequestOf(r),
	}
	if found, ok := r.rest()["findings"]; ok {
		evidence.Data = map[string]any{"findings": found}
	}
	o.Evidences = []ocsfEvidence{evidence}
}

// secret says what found one, and what was done about it.
func (o *ocsfEvent) secret(where string, rules []string) {
	control := ocsfControls[where]
	o.Metadata.Profiles = []string{"security_control"}
	o.ActionID, o.Action = control.action.id, control.action.name
	o.DispositionID, o.Disposition = control.disposition.id, control.disposition.name
	o.Finding.Types = []string{"Secret in " + where}
	for i, rule := range rules {
		a := ocsfAnalytic{Name: rule, UID: rule, TypeID: 1, Type: "Rule"}
		if i == 0 {
			o.Finding.Analytic = &a
		} else {
			o.Finding.Related = append(o.Finding.Related, a)
		}
	}
}

// ocsfControls say what was done about a secret, by where it was. A text that was
// handed in for a scan goes nowhere.
var ocsfControls = map[string]struct{ action, disposition ocsfEnum }{
	"request":  {ocsfEnum{2, "Denied"}, ocsfEnum{2, "Blocked"}},
	"response": {ocsfEnum{1, "Allowed"}, ocsfEnum{11, "Corrected"}},
	"text":     {ocsfEnum{1, "Allowed"}, ocsfEnum{15, "Detected"}},
}

func ocsfWhere(r *record) string {
	switch {
	case r.Event == "scan.redacted":
		return "response"
	case r.Provider == "":
		return "text"
	}
	return "request"
}

package export

// The classes and objects of the Open Cybersecurity Schema Framework, with the
// attributes that keeper fills.
type (
	ocsfEvent struct {
		ActivityID    int            `json:"activity_id"`
		Activity      string         `json:"activity_name,omitempty"`
		CategoryUID   int            `json:"category_uid"`
		Category      string         `json:"category_name"`
		ClassUID      int            `json:"class_uid"`
		Class         string         `json:"class_name"`
		TypeUID       int            `json:"type_uid"`
		Time          int64          `json:"time"` // in ms since 1970
		SeverityID    int            `json:"severity_id"`
		Severity      string         `json:"severity"`
		StatusID      int            `json:"status_id"`
		Status        string         `json:"status"`
		StatusCode    string         `json:"status_code,omitempty"`
		StatusDetail  string         `json:"status_detail,omitempty"`
		Message       string         `json:"message,omitempty"`
		Count         int64          `json:"count,omitempty"`
		Duration      int64          `json:"duration,omitempty"` // in ms
		Metadata      ocsfMetadata   `json:"metadata"`
		Actor         *ocsfActor     `json:"actor,omitempty"`
		User          *ocsfUser      `json:"user,omitempty"`
		Session       *ocsfSession   `json:"session,omitempty"`
		Service       *ocsfService   `json:"service,omitempty"`
		App           *ocsfProduct   `json:"app,omitempty"`
		API           *ocsfAPI       `json:"api,omitempty"`
		Source        *ocsfEndpoint  `json:"src_endpoint,omitempty"`
		Destination   *ocsfEndpoint  `json:"dst_endpoint,omitempty"`
		Request       *ocsfRequest   `json:"http_request,omitempty"`
		Response      *ocsfResponse  `json:"http_response,omitempty"`
		Resources     []ocsfResource `json:"resources,omitempty"`
		Finding       *ocsfFinding   `json:"finding_info,omitempty"`
		Evidences     []ocsfEvidence `json:"evidences,omitempty"`
		IsAlert       bool           `json:"is_alert,omitempty"`
		ActionID      int            `json:"action_id,omitempty"`
		Action        string         `json:"action,omitempty"`
		DispositionID int            `json:"disposition_id,omitempty"`
		Disposition   string         `json:"disposition,omitempty"`
		Unmapped      map[string]any `json:"unmapped,omitempty"`
	}
	ocsfMetadata struct {
		Version     string       `json:"version"`
		Product     ocsfProduct  `json:"product"`
		Profiles    []string     `json:"profiles,omitempty"`
		UID         string       `json:"uid"`
		Sequence    int64        `json:"sequence"`
		Correlation string       `json:"correlation_uid,omitempty"`
		EventCode   string       `json:"event_code"`
		LogName     string       `json:"log_name"`
		Loggers     []ocsfLogger `json:"loggers,omitempty"`
	}
	ocsfProduct struct {
		Name    string `json:"name"`
		Vendor  string `json:"vendor_name"`
		Version string `json:"version,omitempty"`
	}
	ocsfLogger struct {
		Name string `json:"name"`
	}
	ocsfActor struct {
		User    *ocsfUser    `json:"user,omitempty"`
		Session *ocsfSession `json:"session,omitempty"`
		App     string       `json:"app_name,omitempty"`
	}
	ocsfUser struct {
		Name string `json:"name"`
		UID  string `json:"uid,omitempty"`
	}
	ocsfSession struct {
		UID string `json:"uid"`
	}
	ocsfService struct {
		Name string `json:"name"`
	}
	ocsfAPI struct {
		Operation string       `json:"operation"`
		Service   *ocsfService `json:"service,omitempty"`
		Request   *ocsfCall    `json:"request,omitempty"`
	}
	ocsfCall struct {
		UID string `json:"uid"`
	}
	ocsfEndpoint struct {
		IP      string `json:"ip,omitempty"`
		Name    string `json:"name,omitempty"`
		Service string `json:"svc_name,omitempty"`
	}
	ocsfRequest struct {
		Method string   `json:"http_method,omitempty"`
		URL    *ocsfURL `json:"url,omitempty"`
		Bytes  int64    `json:"body_length,omitempty"`
	}
	ocsfURL struct {
		Path string `json:"path"`
	}
	ocsfResponse struct {
		Code  int   `json:"code"`
		Bytes int64 `json:"body_length,omitempty"`
	}
	ocsfResource struct {
		Type      string `json:"type"`
		Name      string `json:"name,omitempty"`
		UID       string `json:"uid,omitempty"`
		Namespace string `json:"namespace,omitempty"`
	}
	ocsfFinding struct {
		UID      string         `json:"uid"`
		Title    string         `json:"title"`
		Types    []string       `json:"types,omitempty"`
		Created  int64          `json:"created_time"` // in ms since 1970
		Analytic *ocsfAnalytic  `json:"analytic,omitempty"`
		Related  []ocsfAnalytic `json:"related_analytics,omitempty"`
	}
	ocsfAnalytic struct {
		Name   string `json:"name"`
		UID    string `json:"uid"`
		Type   string `json:"type"`
		TypeID int    `json:"type_id"`
	}
	ocsfEvidence struct {
		Actor   *ocsfActor     `json:"actor,omitempty"`
		API     *ocsfAPI       `json:"api,omitempty"`
		Source  *ocsfEndpoint  `json:"src_endpoint,omitempty"`
		Request *ocsfRequest   `json:"http_request,omitempty"`
		Data    map[string]any `json:"data,omitempty"`
	}
)

// ocsfActorOf names keeper as an application where nobody asked it to act.
func ocsfActorOf(r *record) *ocsfActor {
	switch {
	case r.actor() != "":
		a := &ocsfActor{User: ocsfUserOf(r.actor())}
		if r.JTI != "" && r.kind.class == apiActivity {
			a.Session = &ocsfSession{r.JTI}
		}
		return a
	case r.Source != "":
		return &ocsfActor{User: ocsfUserOf("")}
	}
	return &ocsfActor{App: product}
}

// ocsfUserOf is an agent or the operator; an empty id stands for a stranger.
func ocsfUserOf(id string) *ocsfUser {
	if id == "" {
		return &ocsfUser{Name: "unknown"}
	}
	return &ocsfUser{Name: id, UID: id}
}

// ocsfSource is the peer, or keeper itself where there is none.
func ocsfSource(r *record) *ocsfEndpoint {
	if a, ok := r.address(); ok {
		return &ocsfEndpoint{IP: a.String()}
	}
	if r.Source != "" {
		return &ocsfEndpoint{Name: r.Source}
	}
	return &ocsfEndpoint{Service: product}
}

// ocsfAPIOf names the operation by the event, or by keeper's route where one was
// refused.
func ocsfAPIOf(r *record) *ocsfAPI {
	api := &ocsfAPI{Operation: r.Event, Service: &ocsfService{product}}
	if r.Route != "" {
		api.Operation = r.Route
	}
	if r.Provider != "" {
		api.Service.Name = r.Provider
	}
	if r.RequestID != "" {
		api.Request = &ocsfCall{r.RequestID}
	}
	return api
}

func ocsfRequestOf(r *record) *ocsfRequest {
	if r.Path == "" && !ocsfMethods[r.Method] {
		return nil
	}
	q := &ocsfRequest{Bytes: r.RequestBytes}
	if ocsfMethods[r.Method] {
		q.Method = r.Method
	}
	if r.Path != "" {
		q.URL = &ocsfURL{r.Path}
	}
	return q
}

func ocsfResponseOf(r *record) *ocsfResponse {
	if r.httpStatus() == 0 {
		return nil
	}
	return &ocsfResponse{Code: r.httpStatus(), Bytes: r.ResponseBytes}
}

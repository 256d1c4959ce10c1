package check_test

import (
	"fmt"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

const chartFolder = "../helm/keeper"

type values = map[string]any

// everything sets all that the chart can do.
func everything() values {
	return values{
		"existingSecret":      "keys",
		"config":              values{"registration": "approval", "log": values{"level": "warn"}},
		"tls":                 values{"existingSecret": "tls"},
		"image":               values{"digest": "sha256:" + strings.Repeat("a", 64)},
		"imagePullSecrets":    []any{values{"name": "pull"}},
		"extraEnv":            []any{values{"name": "KEEPER_LOG", "value": "x"}},
		"extraEnvFrom":        []any{values{"secretRef": values{"name": "imports"}}},
		"extraVolumes":        []any{values{"name": "more", "emptyDir": values{}}},
		"extraVolumeMounts":   []any{values{"name": "more", "mountPath": "/more"}},
		"persistence":         values{"storageClass": "fast"},
		"podAnnotations":      values{"a": "b"},
		"podLabels":           values{"c": "d"},
		"nodeSelector":        values{"kubernetes.io/os": "linux"},
		"tolerations":         []any{values{"operator": "Exists"}},
		"affinity":            values{"nodeAffinity": values{}},
		"priorityClassName":   "high",
		"networkPolicy":       values{"operators": []any{values{"podSelector": values{}}}, "egress": []any{values{"ports": []any{values{"port": 8200}}}}},
		"serviceMonitor":      values{"enabled": true, "labels": values{"release": "prometheus"}, "tokenSecret": values{"name": "token"}, "tlsConfig": values{"insecureSkipVerify": false}},
		"serviceAccount":      values{"annotations": values{"e": "f"}},
		"podDisruptionBudget": values{"maxUnavailable": 0},
	}
}

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartFolder)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// render is `helm template`: the documents by file and place.
func render(t *testing.T, v values) (map[string]string, error) {
	t.Helper()
	c := load(t)
	release := chartutil.ReleaseOptions{Name: "keeper", Namespace: "agents", Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(c, v, release, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, err
	}
	documents := map[string]string{}
	for name, text := range files {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		for i, document := range strings.Split("\n"+text, "\n---\n") {
			if strings.TrimSpace(document) != "" {
				documents[fmt.Sprintf("%s#%d", name, i)] = document
			}
		}
	}
	return documents, nil
}

// kinds are the types that the documents are read into, strictly.
func kinds() map[string]any {
	return map[string]any{
		"StatefulSet": new(appsv1.StatefulSet), "Service": new(corev1.Service), "ConfigMap": new(corev1.ConfigMap),
		"ServiceAccount": new(corev1.ServiceAccount), "PodDisruptionBudget": new(policyv1.PodDisruptionBudget),
		"NetworkPolicy": new(networkingv1.NetworkPolicy), "ServiceMonitor": new(serviceMonitor),
	}
}

// serviceMonitor is what the chart uses of Prometheus Operator's.
type serviceMonitor struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   map[string]any `json:"metadata"`
	Spec       struct {
		Selector  map[string]map[string]string `json:"selector"`
		Endpoints []struct {
			Port          string         `json:"port"`
			Path          string         `json:"path"`
			Scheme        string         `json:"scheme"`
			Interval      string         `json:"interval"`
			Authorization map[string]any `json:"authorization"`
			TLSConfig     map[string]any `json:"tlsConfig"`
		} `json:"endpoints"`
	} `json:"spec"`
}

func TestChartLints(t *testing.T) {
	for name, v := range map[string]values{"with the least": {"existingSecret": "keys"}, "with everything": everything()} {
		result := lint.All(chartFolder, v, "agents", true)
		for _, message := range result.Messages {
			if message.Severity >= support.WarningSev {
				t.Errorf("%s: got %v, want no complaint", name, message)
			}
		}
	}
}

func TestChartRendersWhatKubernetesKnows(t *testing.T) {
	for name, v := range map[string]values{"with the least": {"existingSecret": "keys"}, "with everything": everything()} {
		documents, err := render(t, v)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for at, document := range documents {
			var head struct{ Kind string }
			if err := yaml.Unmarshal([]byte(document), &head); err != nil {
				t.Fatalf("%s, %s: %v", name, at, err)
			}
			into, known := kinds()[head.Kind]
			if !known {
				t.Errorf("%s, %s: got kind %q, which nobody checks", name, at, head.Kind)
				continue
			}
			if err := yaml.UnmarshalStrict([]byte(document), into); err != nil {
				t.Errorf("%s, %s: %v\n%s", name, at, err, document)
			}
		}
		if len(documents) < 7 {
			t.Errorf("%s: got %d documents, want at least 7", name, len(documents))
		}
	}
}

// read returns the document of a file, read into a type.
func read[T any](t *testing.T, v values, file string) T {
	t.Helper()
	documents, err := render(t, v)
	if err != nil {
		t.Fatal(err)
	}
	var out T
	for at, document := range documents {
		if strings.HasPrefix(at, "keeper/templates/"+file+"#") {
			if err := yaml.UnmarshalStrict([]byte(document), &out); err != nil {
				t.Fatal(err)
			}
			return out
		}
	}
	t.Fatalf("got no %s, want one", file)
	return out
}

func TestPodIsRestrictedAsThePodSecurityStandardsWantIt(t *testing.T) {
	pod := read[appsv1.StatefulSet](t, values{"existingSecret": "keys"}, "statefulset.yaml").Spec.Template.Spec
	c := pod.Containers[0]
	switch {
	case !*pod.SecurityContext.RunAsNonRoot || *pod.SecurityContext.RunAsUser != 65532:
		t.Error("got a pod that may be root, want 65532")
	case pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault:
		t.Error("got no seccomp profile, want the runtime's")
	case *c.SecurityContext.AllowPrivilegeEscalation || !*c.SecurityContext.ReadOnlyRootFilesystem:
		t.Error("got a container that may gain privileges or write its root")
	case len(c.SecurityContext.Capabilities.Drop) != 1 || c.SecurityContext.Capabilities.Drop[0] != "ALL" || len(c.SecurityContext.Capabilities.Add) != 0:
		t.Errorf("capabilities: got %+v, want none", c.SecurityContext.Capabilities)
	case *pod.AutomountServiceAccountToken:
		t.Error("got a token of the service account, want none")
	case pod.HostNetwork || pod.HostPID || pod.HostIPC:
		t.Error("got a namespace of the host, want none")
	}
	if c.LivenessProbe.HTTPGet.Path != "/livez" || c.ReadinessProbe.HTTPGet.Path != "/readyz" {
		t.Errorf("probes: got %s and %s, want /livez and /readyz", c.LivenessProbe.HTTPGet.Path, c.ReadinessProbe.HTTPGet.Path)
	}
}

func TestChartRefusesToStartWithoutTheKeys(t *testing.T) {
	if _, err := render(t, values{}); err == nil || !strings.Contains(err.Error(), "vault-key and admin-token") {
		t.Errorf("without existingSecret: got %v, want an error that names its keys", err)
	}
}

func TestChartRefusesValuesThatWouldMeanSomethingElse(t *testing.T) {
	for name, v := range map[string]values{
		"a misspelt value":         {"exstingSecret": "x"},
		"a listener of the chart":  {"config": values{"addr": "127.0.0.1:1"}},
		"the key beside the data":  {"config": values{"vaultKeyFile": "/data/key"}},
		"a source that is anybody": {"networkPolicy": values{"operators": []any{values{}}}},
		"a digest that is none":    {"image": values{"digest": "latest"}},
	} {
		v["existingSecret"] = "keys"
		if _, err := render(t, v); err == nil {
			t.Errorf("%s: got no error, want one", name)
		}
	}
}

func TestAdminListenerIsClosedUnlessOperatorsAreNamed(t *testing.T) {
	for _, operators := range [][]any{{}, {values{"podSelector": values{"matchLabels": values{"a": "b"}}}}} {
		v := values{"existingSecret": "keys", "networkPolicy": values{"operators": operators}}
		open := 0
		for _, rule := range read[networkingv1.NetworkPolicy](t, v, "networkpolicy.yaml").Spec.Ingress {
			if len(rule.From) == 0 || len(rule.Ports) == 0 {
				t.Errorf("rule %+v: got one for everybody or for every port", rule)
			}
			for _, port := range rule.Ports {
				if port.Port.StrVal == "admin" {
					open++
				}
			}
		}
		if open != len(operators) {
			t.Errorf("with %d operators: got %d rules for the admin port, want as many", len(operators), open)
		}
	}
}

func TestConfigOfTheOperatorGoesOverTheCharts(t *testing.T) {
	config := read[corev1.ConfigMap](t, everything(), "configmap.yaml").Data["keeper.yaml"]
	for _, want := range []string{"registration: approval", "level: warn", "format: json", "certFile: /run/secrets/keeper-tls/tls.crt", "addr: 0.0.0.0:8700"} {
		if !strings.Contains(config, want) {
			t.Errorf("keeper.yaml: got\n%s\nwant %q in it", config, want)
		}
	}
}

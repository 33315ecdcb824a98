package deploy_test

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// budget is what Wisepops grants a website in 30 days.
const budget = 1500

// The shutdown of Benthos takes 20 seconds at most, and then that of an input 10.
const shutdownSeconds = 30

type probe struct {
	HTTPGet struct {
		Path string `yaml:"path"`
		Port string `yaml:"port"`
	} `yaml:"httpGet"`
}

type container struct {
	Name    string   `yaml:"name"`
	Image   string   `yaml:"image"`
	Command []string `yaml:"command"`
	Args    []string `yaml:"args"`
	Env     []struct {
		Name      string `yaml:"name"`
		Value     string `yaml:"value"`
		ValueFrom struct {
			SecretKeyRef struct {
				Name     string `yaml:"name"`
				Key      string `yaml:"key"`
				Optional bool   `yaml:"optional"`
			} `yaml:"secretKeyRef"`
		} `yaml:"valueFrom"`
	} `yaml:"env"`
	EnvFrom []struct {
		ConfigMapRef struct {
			Name string `yaml:"name"`
		} `yaml:"configMapRef"`
	} `yaml:"envFrom"`
	ReadinessProbe probe `yaml:"readinessProbe"`
	LivenessProbe  probe `yaml:"livenessProbe"`
	Lifecycle      struct {
		PreStop struct {
			Sleep struct {
				Seconds int `yaml:"seconds"`
			} `yaml:"sleep"`
		} `yaml:"preStop"`
	} `yaml:"lifecycle"`
	Resources struct {
		Requests map[string]string `yaml:"requests"`
		Limits   map[string]string `yaml:"limits"`
	} `yaml:"resources"`
	SecurityContext struct {
		Privileged               bool  `yaml:"privileged"`
		AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
		Capabilities             struct {
			Add  []string `yaml:"add"`
			Drop []string `yaml:"drop"`
		} `yaml:"capabilities"`
	} `yaml:"securityContext"`
	VolumeMounts []struct {
		Name      string `yaml:"name"`
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

type podSpec struct {
	AutomountServiceAccountToken  *bool `yaml:"automountServiceAccountToken"`
	HostNetwork                   bool  `yaml:"hostNetwork"`
	TerminationGracePeriodSeconds int   `yaml:"terminationGracePeriodSeconds"`
	SecurityContext               struct {
		RunAsNonRoot   bool `yaml:"runAsNonRoot"`
		RunAsUser      int  `yaml:"runAsUser"`
		FSGroup        int  `yaml:"fsGroup"`
		SeccompProfile struct {
			Type string `yaml:"type"`
		} `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	Containers []container `yaml:"containers"`
	Volumes    []struct {
		Name      string `yaml:"name"`
		ConfigMap struct {
			Name string `yaml:"name"`
		} `yaml:"configMap"`
	} `yaml:"volumes"`
}

type manifest struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name      string            `yaml:"name"`
		Namespace string            `yaml:"namespace"`
		Labels    map[string]string `yaml:"labels"`
	} `yaml:"metadata"`
	Spec struct {
		Replicas int `yaml:"replicas"`
		Strategy struct {
			Type string `yaml:"type"`
		} `yaml:"strategy"`
		Template struct {
			Metadata struct {
				Annotations map[string]string `yaml:"annotations"`
			} `yaml:"metadata"`
			Spec podSpec `yaml:"spec"`
		} `yaml:"template"`
		Rules []struct {
			Host string `yaml:"host"`
			HTTP struct {
				Paths []struct {
					Path string `yaml:"path"`
				} `yaml:"paths"`
			} `yaml:"http"`
		} `yaml:"rules"` // of an Ingress
	} `yaml:"spec"`
}

type kustomization struct {
	Resources []string `yaml:"resources"`
	Images    []struct {
		Name string `yaml:"name"`
	} `yaml:"images"`
	ConfigMapGenerator []struct {
		Name  string   `yaml:"name"`
		Envs  []string `yaml:"envs"`
		Files []string `yaml:"files"`
	} `yaml:"configMapGenerator"`
}

func readKustomization(t *testing.T) kustomization {
	t.Helper()
	docs := readYAML[kustomization](t, kubernetes+"/kustomization.yaml")
	require.Len(t, docs, 1)
	return docs[0]
}

func manifests(t *testing.T) (all []manifest) {
	t.Helper()
	for _, name := range readKustomization(t).Resources {
		for _, m := range readYAML[manifest](t, path.Join(kubernetes, name)) {
			require.NotEmpty(t, m.APIVersion, name)
			require.NotEmpty(t, m.Kind, name)
			require.NotEmpty(t, m.Metadata.Name, name)
			all = append(all, m)
		}
	}
	return all
}

// workloads are the manifests that start pods, by component.
func workloads(t *testing.T) map[string]manifest {
	t.Helper()
	all := map[string]manifest{}
	for _, m := range manifests(t) {
		if m.Kind == "Deployment" || m.Kind == "StatefulSet" {
			all[m.Metadata.Labels["app.kubernetes.io/component"]] = m
		}
	}
	require.Len(t, all, 3)
	return all
}

func (m manifest) container(t *testing.T) container {
	t.Helper()
	require.Len(t, m.Spec.Template.Spec.Containers, 1, m.Metadata.Name)
	return m.Spec.Template.Spec.Containers[0]
}

// readEnv reads lines such as NAME=value.
func readEnv(t *testing.T, file string) map[string]string {
	t.Helper()
	env := map[string]string{}
	for line := range strings.Lines(read(t, file)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		require.True(t, ok, "%s: %s", file, line)
		env[name] = value
	}
	return env
}

// settings are the shared ones.
func settings(t *testing.T) map[string]string {
	t.Helper()
	return readEnv(t, kubernetes+"/settings.env")
}

// own is the environment that a manifest alone sets; what comes from a Secret has no value.
func (c container) own() map[string]string {
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	return env
}

// inImage finds the file of the repository that a path in a container is.
func inImage(t *testing.T, m manifest, file string) string {
	t.Helper()
	for _, copied := range regexp.MustCompile(`(?m)^COPY (\w+) /(\w+)$`).FindAllStringSubmatch(read(t, "deploy/Dockerfile"), -1) {
		if rest, ok := strings.CutPrefix(file, "/"+copied[2]+"/"); ok {
			return copied[1] + "/" + rest
		}
	}
	for _, mount := range m.container(t).VolumeMounts {
		rest, ok := strings.CutPrefix(file, mount.MountPath+"/")
		if !ok {
			continue
		}
		for _, v := range m.Spec.Template.Spec.Volumes {
			for _, g := range readKustomization(t).ConfigMapGenerator {
				for _, source := range g.Files {
					if v.Name == mount.Name && v.ConfigMap.Name == g.Name && path.Base(source) == rest {
						return path.Join(kubernetes, source)
					}
				}
			}
		}
	}
	t.Errorf("%s: neither the image nor a volume has %s", m.Metadata.Name, file)
	return ""
}

// configs are the files of the repository that a workload runs, the pipeline last.
func configs(t *testing.T, m manifest) (paths []string) {
	t.Helper()
	args := m.container(t).Args
	require.NotEmpty(t, args, m.Metadata.Name)
	require.Equal(t, "run", args[0], m.Metadata.Name)
	for _, arg := range args[1:] {
		if arg == "-r" {
			continue
		}
		file := inImage(t, m, arg)
		_, err := os.Stat(filepath.Join(root, file))
		require.NoError(t, err, m.Metadata.Name)
		paths = append(paths, file)
	}
	return paths
}

var variable = regexp.MustCompile(`\$\{([0-9A-Za-z_.]+)(:[^}]*)?\}`)

func TestPipelinesGetTheirVariables(t *testing.T) {
	shared := settings(t)
	used := map[string]bool{}
	for _, m := range workloads(t) {
		c := m.container(t)
		require.Len(t, c.EnvFrom, 1)
		assert.Equal(t, "wisepops-settings", c.EnvFrom[0].ConfigMapRef.Name)
		own := c.own()
		here := map[string]bool{}
		for _, file := range configs(t, m) {
			for _, v := range variable.FindAllStringSubmatch(read(t, file), -1) {
				name := v[1]
				used[name], here[name] = true, true
				_, ownSet := own[name]
				_, sharedSet := shared[name]
				assert.True(t, ownSet || sharedSet || v[2] != "", "%s: %s needs %s, which is set nowhere", m.Metadata.Name, file, name)
			}
		}
		for name := range own {
			assert.True(t, here[name] || name == "GOMEMLIMIT", "%s sets %s, which none of its files uses", m.Metadata.Name, name)
		}
	}
	for name := range shared {
		assert.True(t, used[name], "settings.env sets %s, which no pipeline uses", name)
	}
}

func TestSecretsAreReferredTo(t *testing.T) {
	example := readEnv(t, kubernetes+"/secrets.env.example")
	referred := map[string]bool{}
	for _, m := range workloads(t) {
		for _, e := range m.container(t).Env {
			ref := e.ValueFrom.SecretKeyRef
			if ref.Key == "" {
				assert.NotRegexp(t, `KEY|PASSWORD|REDIS|DSN`, e.Name, "%s holds a secret", m.Metadata.Name)
				continue
			}
			assert.Equal(t, "wisepops", ref.Name)
			assert.Equal(t, e.Name, ref.Key)
			referred[ref.Key] = true
			if !ref.Optional {
				assert.Contains(t, example, ref.Key)
			}
		}
	}
	for name := range example {
		assert.True(t, referred[name], "nothing refers to %s", name)
	}
	for name := range settings(t) {
		assert.NotRegexp(t, `KEY|PASSWORD|REDIS|DSN|SECRET`, name, "settings.env is no place for secrets")
	}
	for _, m := range manifests(t) {
		assert.NotEqual(t, "Secret", m.Kind)
	}
}

func TestPodsHaveFewRights(t *testing.T) {
	for _, m := range workloads(t) {
		name, pod, c := m.Metadata.Name, m.Spec.Template.Spec, m.container(t)
		assert.True(t, pod.SecurityContext.RunAsNonRoot, name)
		assert.NotZero(t, pod.SecurityContext.RunAsUser, name)
		assert.Equal(t, "RuntimeDefault", pod.SecurityContext.SeccompProfile.Type, name)
		assert.False(t, pod.HostNetwork, name)
		if assert.NotNil(t, pod.AutomountServiceAccountToken, name) {
			assert.False(t, *pod.AutomountServiceAccountToken, name)
		}
		if assert.NotNil(t, c.SecurityContext.AllowPrivilegeEscalation, name) {
			assert.False(t, *c.SecurityContext.AllowPrivilegeEscalation, name)
		}
		assert.False(t, c.SecurityContext.Privileged, name)
		assert.True(t, c.SecurityContext.ReadOnlyRootFilesystem, name)
		assert.Equal(t, []string{"ALL"}, c.SecurityContext.Capabilities.Drop, name)
		assert.Empty(t, c.SecurityContext.Capabilities.Add, name)
	}
	for _, m := range manifests(t) {
		assert.Empty(t, m.Metadata.Namespace, "%s: the namespace is chosen when it is applied", m.Metadata.Name)
	}
}

func TestPodsHaveProbesAndResources(t *testing.T) {
	for component, m := range workloads(t) {
		name, pod, c := m.Metadata.Name, m.Spec.Template.Spec, m.container(t)
		assert.Equal(t, "/ping", c.LivenessProbe.HTTPGet.Path, name)
		assert.Equal(t, "metrics", c.LivenessProbe.HTTPGet.Port, name)
		if component == "receiver" {
			// An outage of Kafka or of the API takes no receiver out.
			assert.Equal(t, "/wisepops/healthz", c.ReadinessProbe.HTTPGet.Path)
			assert.Equal(t, "deliveries", c.ReadinessProbe.HTTPGet.Port)
		} else {
			assert.Equal(t, "/ready", c.ReadinessProbe.HTTPGet.Path, name)
			assert.Equal(t, "metrics", c.ReadinessProbe.HTTPGet.Port, name)
		}
		assert.NotEmpty(t, c.Resources.Requests["cpu"], name)
		assert.NotEmpty(t, c.Resources.Requests["memory"], name)
		limit := mebibytes(t, c.Resources.Limits["memory"])
		soft := mebibytes(t, strings.TrimSuffix(c.own()["GOMEMLIMIT"], "B"))
		assert.Less(t, soft, limit, "%s: GOMEMLIMIT", name)
		assert.Greater(t, pod.TerminationGracePeriodSeconds, shutdownSeconds+c.Lifecycle.PreStop.Sleep.Seconds, name)
		assert.Equal(t, map[string]string{
			"prometheus.io/scrape": "true", "prometheus.io/port": "4195", "prometheus.io/path": "/metrics",
		}, m.Spec.Template.Metadata.Annotations, name)
	}
}

func mebibytes(t *testing.T, quantity string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSuffix(quantity, "Mi"))
	require.NoError(t, err)
	return n
}

// TestProcessesDivideTheCalls: no two share a ledger, and together they keep within the
// budget.
func TestProcessesDivideTheCalls(t *testing.T) {
	calls := 0
	for component, m := range workloads(t) {
		env, paths := m.container(t).own(), configs(t, m)
		limited := slices.Contains(paths, "resources/budget.yaml")
		switch component {
		case "receiver":
			assert.False(t, limited, "receivers make no calls")
			continue
		case "poller":
			assert.Equal(t, 1, m.Spec.Replicas)
			assert.Equal(t, "Recreate", m.Spec.Strategy.Type)
			assert.Contains(t, paths, "resources/state_redis.yaml")
		case "privacy":
			assert.Contains(t, paths, "resources/state_sqlite.yaml", "each has a ledger of its own")
			assert.Equal(t, "StatefulSet", m.Kind)
			assert.NotZero(t, m.Spec.Template.Spec.SecurityContext.FSGroup, "the volume must be writable")
			assert.True(t, slices.ContainsFunc(m.container(t).VolumeMounts, func(v struct {
				Name      string `yaml:"name"`
				MountPath string `yaml:"mountPath"`
			},
			) bool {
				return strings.HasPrefix(env["WISEPOPS_STATE"], v.MountPath+"/")
			}), "the ledger must be on a volume")
		}
		assert.True(t, limited, m.Metadata.Name)
		assert.Equal(t, "0", env["WISEPOPS_RESERVE"], "nobody else is on the ledger of %s", m.Metadata.Name)
		n, err := strconv.Atoi(env["WISEPOPS_CALLS"])
		require.NoError(t, err, m.Metadata.Name)
		calls += n * m.Spec.Replicas
	}
	assert.LessOrEqual(t, calls, budget)
}

// TestReceiverTreatsContactsLikeThePoller: two pipelines write to one topic.
func TestReceiverTreatsContactsLikeThePoller(t *testing.T) {
	type pipeline struct {
		Input struct {
			Webhook  map[string]any `yaml:"wisepops_webhook"`
			Contacts map[string]any `yaml:"wisepops_contacts"`
		} `yaml:"input"`
		Pipeline any `yaml:"pipeline"`
		Output   struct {
			Broker struct {
				Pattern string `yaml:"pattern"`
				Outputs []struct {
					Fallback []struct {
						Switch struct {
							Cases []struct {
								Check  string         `yaml:"check"`
								Output map[string]any `yaml:"output"`
							} `yaml:"cases"`
						} `yaml:"switch"`
						Cache map[string]any `yaml:"cache"`
						Drop  any            `yaml:"drop"`
					} `yaml:"fallback"`
				} `yaml:"outputs"`
			} `yaml:"broker"`
		} `yaml:"output"`
	}
	all := workloads(t)
	last := func(component string) pipeline {
		paths := configs(t, all[component])
		docs := readYAML[pipeline](t, paths[len(paths)-1])
		require.Len(t, docs, 1)
		return docs[0]
	}
	receiver, poller := last("receiver"), last("poller")

	assert.Equal(t, false, receiver.Input.Webhook["register"], "a receiver makes no calls")
	assert.NotContains(t, receiver.Input.Webhook, "rate_limit")
	assert.Empty(t, receiver.Input.Contacts)

	assert.NotEmpty(t, receiver.Pipeline)
	assert.Equal(t, poller.Pipeline, receiver.Pipeline)
	assert.Equal(t, poller.Output.Broker.Pattern, receiver.Output.Broker.Pattern)
	require.Len(t, receiver.Output.Broker.Outputs, 2)
	require.Len(t, poller.Output.Broker.Outputs, 2)
	sent := receiver.Output.Broker.Outputs[0].Fallback
	require.Len(t, sent, 2, "dead letters come after the topic")
	require.Len(t, sent[0].Switch.Cases, 2)
	kafka, ok := sent[0].Switch.Cases[1].Output["kafka_franz"].(map[string]any)
	require.True(t, ok)
	delete(kafka, "max_in_flight")
	assert.Equal(t, poller.Output.Broker.Outputs[0].Fallback, sent)
	remembered := receiver.Output.Broker.Outputs[1].Fallback
	require.Len(t, remembered, 2)
	require.NotEmpty(t, remembered[0].Cache)
	delete(remembered[0].Cache, "ttl")
	theirs := poller.Output.Broker.Outputs[1].Fallback
	require.Len(t, theirs, 2)
	assert.Equal(t, theirs[0].Cache, remembered[0].Cache)
	// A cache that is full rejects no delivery, and repeats no contact.
	assert.NotNil(t, remembered[1].Drop)
	assert.NotNil(t, theirs[1].Drop)
}

func TestWisepopsFindsTheReceivers(t *testing.T) {
	public, err := url.Parse(settings(t)["WEBHOOK_PUBLIC_URL"])
	require.NoError(t, err)
	assert.Equal(t, "https", public.Scheme)
	found := false
	for _, m := range manifests(t) {
		if m.Kind != "Ingress" {
			continue
		}
		for _, r := range m.Spec.Rules {
			for _, p := range r.HTTP.Paths {
				found = true
				assert.Equal(t, public.Host, r.Host)
				assert.Equal(t, public.Path, p.Path)
			}
		}
	}
	assert.True(t, found)
	assert.Equal(t, public.Path+"/healthz", workloads(t)["receiver"].container(t).ReadinessProbe.HTTPGet.Path)
}

func TestImageIsTheOneOfTheDockerfile(t *testing.T) {
	var names []string
	for _, i := range readKustomization(t).Images {
		names = append(names, i.Name)
	}
	for _, m := range workloads(t) {
		assert.Contains(t, names, m.container(t).Image)
		assert.Empty(t, m.container(t).Command, "the image has an entry point")
	}

	dockerfile := read(t, "deploy/Dockerfile")
	assert.Contains(t, dockerfile, "CGO_ENABLED=0")
	assert.Contains(t, dockerfile, "\nFROM scratch\n")
	assert.Contains(t, dockerfile, "\nENTRYPOINT [\"/wisepops-connect\"]\n")
	user := regexp.MustCompile(`(?m)^USER (\d+):\d+$`).FindStringSubmatch(dockerfile)
	require.NotNil(t, user)
	for _, m := range workloads(t) {
		assert.Equal(t, user[1], strconv.Itoa(m.Spec.Template.Spec.SecurityContext.RunAsUser))
	}
	main := read(t, "main.go")
	for _, x := range regexp.MustCompile(`-X main\.(\w+)=`).FindAllStringSubmatch(dockerfile, -1) {
		assert.Regexp(t, `(?m)^\s+`+x[1]+`\s+=`, main, "the linker sets a variable that there is not")
	}
	for _, source := range regexp.MustCompile(`(?m)^COPY (\w+) /`).FindAllStringSubmatch(dockerfile, -1) {
		_, err := os.Stat(filepath.Join(root, source[1]))
		require.NoError(t, err)
	}
}

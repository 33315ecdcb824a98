// Package schema holds the manifests in deploy/kubernetes, as kustomize renders them,
// against the types of Kubernetes, and against each other. It is a module of its own, so
// that those types stay out of the module of the plugins:
//
//	cd tests/deploy/schema && go test ./...
package schema

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// deployment is what kustomize renders, by kind.
type deployment struct {
	pods       map[string]corev1.PodTemplateSpec // by workload
	claims     map[string][]string               // volumes that a workload claims
	configMaps map[string]*corev1.ConfigMap
	services   map[string]*corev1.Service
	ingresses  []*networkingv1.Ingress
	budgets    []*policyv1.PodDisruptionBudget
	policies   []*networkingv1.NetworkPolicy
}

func render(t *testing.T) *deployment {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme,
	} {
		require.NoError(t, add(scheme))
	}
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../../../deploy/kubernetes")
	require.NoError(t, err)

	d := &deployment{
		pods:       map[string]corev1.PodTemplateSpec{},
		claims:     map[string][]string{},
		configMaps: map[string]*corev1.ConfigMap{},
		services:   map[string]*corev1.Service{},
	}
	for _, res := range rendered.Resources() {
		gvk, name := res.GetGvk(), res.GetName()
		text, err := res.AsYAML()
		require.NoError(t, err)
		object, err := scheme.New(schema.GroupVersionKind{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind})
		require.NoError(t, err, "%s %s", gvk.Kind, name)
		data, err := yaml.YAMLToJSONStrict(text)
		require.NoError(t, err, "%s %s", gvk.Kind, name)
		unknown, err := json.UnmarshalStrict(data, object) // as the API server does: by exact names
		require.NoError(t, err, "%s %s", gvk.Kind, name)
		require.Empty(t, unknown, "%s %s", gvk.Kind, name)
		switch o := object.(type) {
		case *appsv1.Deployment:
			d.addPods(t, name, o.Spec.Selector.MatchLabels, o.Spec.Template)
		case *appsv1.StatefulSet:
			d.addPods(t, name, o.Spec.Selector.MatchLabels, o.Spec.Template)
			for _, claim := range o.Spec.VolumeClaimTemplates {
				d.claims[name] = append(d.claims[name], claim.Name)
			}
		case *corev1.ConfigMap:
			d.configMaps[name] = o
		case *corev1.Service:
			d.services[name] = o
		case *networkingv1.Ingress:
			d.ingresses = append(d.ingresses, o)
		case *networkingv1.NetworkPolicy:
			d.policies = append(d.policies, o)
		case *policyv1.PodDisruptionBudget:
			d.budgets = append(d.budgets, o)
		default:
			t.Errorf("%s %s: nothing here looks at this kind", gvk.Kind, name)
		}
	}
	return d
}

func (d *deployment) addPods(t *testing.T, name string, selector map[string]string, pod corev1.PodTemplateSpec) {
	t.Helper()
	assert.True(t, matches(selector, pod), "%s does not select its own pods", name)
	d.pods[name] = pod
}

func matches(selector map[string]string, pod corev1.PodTemplateSpec) bool {
	return labels.SelectorFromSet(selector).Matches(labels.Set(pod.Labels))
}

// selected returns the one workload whose pods have the labels.
func (d *deployment) selected(t *testing.T, by string, selector map[string]string) (pod corev1.PodTemplateSpec) {
	t.Helper()
	var names []string
	for name, p := range d.pods {
		if matches(selector, p) {
			names, pod = append(names, name), p
		}
	}
	require.Len(t, names, 1, "%s selects the pods of %v", by, names)
	return pod
}

func hasPort(pod corev1.PodTemplateSpec, port intstr.IntOrString) bool {
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if port == intstr.FromString(p.Name) || port == intstr.FromInt32(p.ContainerPort) {
				return true
			}
		}
	}
	return false
}

func TestWhatPodsReferToIsThere(t *testing.T) {
	d := render(t)
	assert.Len(t, d.pods, 3)
	for workload, pod := range d.pods {
		volumes := map[string]bool{}
		for _, claim := range d.claims[workload] {
			volumes[claim] = true
		}
		for _, v := range pod.Spec.Volumes {
			volumes[v.Name] = true
			if v.ConfigMap != nil {
				assert.Contains(t, d.configMaps, v.ConfigMap.Name, workload)
			}
		}
		for _, c := range pod.Spec.Containers {
			for _, m := range c.VolumeMounts {
				assert.True(t, volumes[m.Name], "%s mounts the volume %s", workload, m.Name)
			}
			for _, from := range c.EnvFrom {
				assert.Contains(t, d.configMaps, from.ConfigMapRef.Name, workload)
			}
			for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe} {
				require.NotNil(t, probe, workload)
				assert.True(t, hasPort(pod, probe.HTTPGet.Port), "%s has no port %s", workload, &probe.HTTPGet.Port)
			}
		}
	}
}

func TestServicesAndPoliciesFindTheirPods(t *testing.T) {
	d := render(t)
	assert.Len(t, d.services, 2)
	for name, s := range d.services {
		pod := d.selected(t, "Service "+name, s.Spec.Selector)
		for _, p := range s.Spec.Ports {
			assert.True(t, hasPort(pod, p.TargetPort), "Service %s has no port %s", name, &p.TargetPort)
		}
	}
	assert.Len(t, d.budgets, 2)
	for _, b := range d.budgets {
		d.selected(t, "PodDisruptionBudget "+b.Name, b.Spec.Selector.MatchLabels)
	}
	require.Len(t, d.ingresses, 1)
	for _, rule := range d.ingresses[0].Spec.Rules {
		for _, path := range rule.HTTP.Paths {
			backend := path.Backend.Service
			require.Contains(t, d.services, backend.Name)
			assert.Contains(t, portNames(d.services[backend.Name]), backend.Port.Name)
		}
	}
	assert.Len(t, d.policies, 2)
	for _, p := range d.policies {
		found := 0
		for _, pod := range d.pods {
			if matches(p.Spec.PodSelector.MatchLabels, pod) {
				found++
				for _, port := range p.Spec.Ingress[0].Ports {
					assert.True(t, hasPort(pod, *port.Port), "NetworkPolicy %s has no port %s", p.Name, port.Port)
				}
			}
		}
		assert.NotZero(t, found, "NetworkPolicy %s", p.Name)
	}
}

func portNames(s *corev1.Service) (names []string) {
	for _, p := range s.Spec.Ports {
		names = append(names, p.Name)
	}
	return names
}

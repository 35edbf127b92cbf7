package main

import (
	"context"
	"encoding/json"
	"fmt"

	helm "github.com/fluxcd/helm-controller/api/v2"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// fluxHealth judges by the expressions of a Kustomization, in the evaluator of Flux's own controllers.
func fluxHealth(manifest []byte) (judge, error) {
	var kustomization struct {
		Spec struct {
			HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(manifest, &kustomization); err != nil {
		return nil, err
	}
	evaluators := map[string]*cel.StatusEvaluator{}
	for _, check := range kustomization.Spec.HealthCheckExprs {
		evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
		if err != nil {
			return nil, fmt.Errorf("healthCheckExprs of %s: %w", check.Kind, err)
		}
		evaluators[check.APIVersion+" "+check.Kind] = evaluator
	}
	return func(object *unstructured.Unstructured) (any, error) {
		evaluator, found := evaluators[object.GetAPIVersion()+" "+object.GetKind()]
		if !found {
			return nil, fmt.Errorf("spec.healthCheckExprs has no entry for %s %s", object.GetAPIVersion(), object.GetKind())
		}
		result, err := evaluator.Evaluate(context.Background(), object)
		if err != nil {
			return nil, err
		}
		return health{Status: result.Status.String(), Message: result.Message}, nil
	}, nil
}

// checkHelmRelease refuses fields that Flux's own types do not have; its schema is in none of its Go modules.
func checkHelmRelease(object *unstructured.Unstructured) (any, error) {
	raw, err := json.Marshal(object.Object)
	if err != nil {
		return nil, err
	}
	var release helm.HelmRelease
	if err := yaml.UnmarshalStrict(raw, &release); err != nil {
		return nil, err
	}
	return map[string]string{"name": release.Name}, nil
}

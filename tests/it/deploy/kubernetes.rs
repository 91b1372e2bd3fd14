//! `deploy/kubernetes/`, as Kustomize renders it.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::{Value, json};

use super::{deploy, documents, entries, list, passes, read, text};
use crate::{
    process::{Ran, douane, mappings},
    servers::process::{folder, tool},
};

/// The oldest Kubernetes that has all that is used, and the newest whose schemas we have.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];
const EXAMPLE: &str = "kubernetes/overlays/example";

fn rendered(folder: &str) -> String {
    let output = passes(Command::new(tool("kubectl")).arg("kustomize").arg(deploy(folder)));
    String::from_utf8(output.stdout).expect("text")
}

/// The objects of the example, to be asked for by kind and name.
struct Cluster(Vec<Value>);

impl Cluster {
    fn example() -> Self {
        Self(documents(&rendered(EXAMPLE)))
    }

    fn all<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        let kind = kind.to_owned();
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    fn one(&self, kind: &str, name: &str) -> &Value {
        let found = self.all(kind).find(|object| object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    /// Deployments and Jobs, each with its name and the pods it makes.
    fn workloads(&self) -> impl Iterator<Item = (&str, &Value)> {
        let all = self.all("Deployment").chain(self.all("Job"));
        all.map(|object| (text(&object["metadata"]["name"]), &object["spec"]["template"]))
    }

    /// The pods that a selector's labels choose.
    fn chosen<'a>(&'a self, labels: &'a Value) -> impl Iterator<Item = &'a Value> {
        self.workloads().map(|(_, template)| template).filter(move |template| {
            entries(labels).all(|(name, value)| template["metadata"]["labels"][name] == *value)
        })
    }

    /// The keys that an object's files or variables are named by.
    fn keys(&self, kind: &str, name: &str) -> BTreeSet<&str> {
        let object = self.one(kind, name);
        entries(&object["data"]).chain(entries(&object["stringData"])).map(|(key, _)| key).collect()
    }
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    list(&pod["initContainers"]).chain(list(&pod["containers"]))
}

/// What the gateways and the Job are started with.
pub(super) fn arguments() -> Vec<Value> {
    let cluster = Cluster::example();
    let ours = cluster.workloads().flat_map(|(_, template)| list(&template["spec"]["containers"]));
    ours.map(|container| container["args"].clone()).collect()
}

fn ports(pod: &Value) -> BTreeSet<&str> {
    containers(pod).flat_map(|it| list(&it["ports"])).map(|port| text(&port["name"])).collect()
}

#[test]
fn every_object_holds_to_its_schema() {
    for path in ["kubernetes/base", EXAMPLE] {
        let home = folder();
        let file = home.path().join("rendered.yaml");
        fs::write(&file, rendered(path)).expect("written");
        for version in VERSIONS {
            let mut command = Command::new(tool("kubernetes-validate"));
            passes(command.args(["--strict", "--quiet", "--kubernetes-version", version]).arg(&file));
        }
    }
}

#[test]
fn whatever_a_pod_names_is_there() {
    let cluster = Cluster::example();
    for (workload, template) in cluster.workloads() {
        let pod = &template["spec"];
        cluster.one("ServiceAccount", text(&pod["serviceAccountName"]));
        let mounted: BTreeSet<_> =
            containers(pod).flat_map(|it| list(&it["volumeMounts"])).map(|it| text(&it["name"])).collect();
        let volumes: BTreeSet<_> = list(&pod["volumes"]).map(|it| text(&it["name"])).collect();
        assert_eq!(mounted, volumes, "{workload}: what is mounted, and what there is");
        for mount in containers(pod).flat_map(|it| list(&it["volumeMounts"])) {
            let volume = list(&pod["volumes"]).find(|it| it["name"] == mount["name"]).expect("it is there");
            let keys = match (&volume["configMap"]["name"], &volume["secret"]["secretName"]) {
                (Value::String(name), _) => cluster.keys("ConfigMap", name),
                (_, Value::String(name)) => cluster.keys("Secret", name),
                _ => continue,
            };
            let key = text(&mount["subPath"]);
            assert!(key.is_empty() || keys.contains(key), "{workload}: no key {key}");
        }
        for container in containers(pod) {
            for from in list(&container["envFrom"]) {
                cluster.one("Secret", text(&from["secretRef"]["name"]));
            }
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                let port = text(&container[probe]["httpGet"]["port"]);
                assert!(port.is_empty() || ports(pod).contains(port), "{workload}: no port {port}");
            }
        }
    }
}

#[test]
fn whoever_chooses_pods_chooses_some_and_by_ports_that_they_have() {
    let cluster = Cluster::example();
    for service in cluster.all("Service") {
        let chosen: Vec<_> = cluster.chosen(&service["spec"]["selector"]).collect();
        assert_eq!(chosen.len(), 1, "{service}");
        for port in list(&service["spec"]["ports"]) {
            assert!(ports(&chosen[0]["spec"]).contains(text(&port["targetPort"])), "{service}");
        }
    }
    for kind in ["Deployment", "PodDisruptionBudget"] {
        for object in cluster.all(kind) {
            assert_eq!(cluster.chosen(&object["spec"]["selector"]["matchLabels"]).count(), 1, "{object}");
        }
    }
    for policy in cluster.all("NetworkPolicy") {
        let chosen: Vec<_> = cluster.chosen(&policy["spec"]["podSelector"]["matchLabels"]).collect();
        let open =
            list(&policy["spec"]["ingress"]).flat_map(|it| list(&it["ports"])).map(|it| text(&it["port"]));
        for port in open {
            assert!(chosen.iter().any(|pod| ports(&pod["spec"]).contains(port)), "no port {port}: {policy}");
        }
        assert!(!chosen.is_empty(), "{policy}");
    }
    for scaler in cluster.all("HorizontalPodAutoscaler") {
        let target = cluster.one("Deployment", text(&scaler["spec"]["scaleTargetRef"]["name"]));
        assert!(target["spec"]["replicas"].is_null(), "two say how many there are: {target}");
        for metric in list(&scaler["spec"]["metrics"]).map(|it| text(&it["external"]["metric"]["name"])) {
            let known = douane::telemetry::metrics::ALL.iter().any(|it| it.name == metric);
            assert!(metric.is_empty() || known, "no metric {metric}");
        }
    }
}

#[test]
fn every_pod_is_confined() {
    let cluster = Cluster::example();
    for (workload, template) in cluster.workloads() {
        let pod = &template["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{workload}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{workload}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{workload}");
        // A Service named douane would otherwise set variables that are settings of ours.
        assert_eq!(pod["enableServiceLinks"], false, "{workload}");
        for container in containers(pod) {
            let may = &container["securityContext"];
            assert_eq!(may["allowPrivilegeEscalation"], false, "{workload}");
            assert_eq!(may["readOnlyRootFilesystem"], true, "{workload}");
            assert_eq!(may["capabilities"], json!({"drop": ["ALL"]}), "{workload}");
            let resources = &container["resources"];
            assert!(resources["limits"]["memory"].is_string() && resources["requests"]["cpu"].is_string());
        }
    }
    for deployment in cluster.all("Deployment") {
        let pod = &deployment["spec"]["template"]["spec"];
        let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("a number");
        let pause =
            pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().expect("a number");
        let settings = douane::config::Config::default();
        let work = settings.intake.shutdown_grace.0 + settings.ledger.statement_timeout.0;
        assert!(grace > pause + work.as_secs(), "it is killed before it can have stopped: {grace} s");
    }
}

#[test]
fn every_secret_that_the_settings_name_is_mounted() {
    let cluster = Cluster::example();
    for settings in cluster.all("ConfigMap") {
        let toml = text(&settings["data"]["douane.toml"]);
        let paths: Vec<_> = toml.split("\"file:").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(!paths.is_empty());
        for path in paths {
            let (folder, key) = path.rsplit_once('/').expect("a path");
            for (workload, template) in cluster.workloads() {
                let pod = &template["spec"];
                let mounts = list(&pod["containers"][0]["volumeMounts"]);
                let mount = mounts.into_iter().find(|it| it["mountPath"] == folder).expect("mounted");
                let volume = list(&pod["volumes"]).find(|it| it["name"] == mount["name"]).expect("there");
                let secret = text(&volume["secret"]["secretName"]);
                assert!(cluster.keys("Secret", secret).contains(key), "{workload}: no {path}");
            }
        }
    }
}

#[test]
fn the_secrets_of_the_example_let_nobody_in() {
    let cluster = Cluster::example();
    let secrets = cluster.one("Secret", "douane-secrets");
    assert!(text(&secrets["stringData"]["ledger-url"]).contains("@postgresql.invalid:"), "{secrets}");
    assert_eq!(secrets["stringData"]["nats-password"], "placeholder");
    let home = folder();
    fs::write(home.path().join("sealing.key"), text(&secrets["stringData"]["sealing-key"])).expect("written");
    let refused = douane::keys::seal::Sealer::open(home.path(), false).expect_err("no key");
    assert!(refused.to_string().contains("is no sealing key"), "{refused}");

    let mut doctor = douane();
    doctor.args(["doctor", "--strict", "--format", "json"]).arg("--mappings").arg(mappings());
    doctor.arg("--data-dir").arg(home.path().join("data"));
    for (name, value) in entries(&cluster.one("Secret", "douane-partners")["stringData"]) {
        doctor.env(name, text(value));
    }
    let told = Ran::from(doctor.output().expect("the binary runs")).ended(1);
    let of_stripe = |finding: &Value| {
        let told = finding.to_string();
        told.contains("stripe") && told.contains("the secret is a placeholder")
    };
    assert!(told.json().as_array().expect("a list").iter().any(of_stripe), "{told:?}");
}

#[test]
fn the_settings_of_the_example_are_the_only_ones_it_has() {
    let cluster = Cluster::example();
    let settings: Vec<_> = cluster.all("ConfigMap").collect();
    assert_eq!(settings.len(), 1);
    let file = read("kubernetes/overlays/example/douane.toml");
    assert_eq!(text(&settings[0]["data"]["douane.toml"]), file, "the base's are replaced");
}

//! Which files of a folder are a model: the names that people's folders have.

use denoise::model_files::{Found, Listed, Network, candidates, class_of, find};

/// Finds a model among files, of which those called `config.json` are of a U-Net, unless they are a VAE's.
fn found(paths: &[&str]) -> Found {
    let listed = |path: &&str| {
        let class = match path {
            path if path.contains("vae") => "AutoencoderKL",
            path if path.contains("classifier") => "EncoderUNetModel",
            _ => "UNet2DModel",
        };
        Listed { path: path.to_string(), class_name: path.ends_with("config.json").then(|| class.to_string()) }
    };
    find(&paths.iter().map(listed).collect::<Vec<_>>())
}

#[track_caller]
fn networks(paths: &[&str]) -> Vec<Network> {
    let Found { networks, problem } = found(paths);
    assert_eq!(problem, None);
    networks
}

/// The variants of the only network in a folder, as `name=files`.
#[track_caller]
fn variants(files: &[&str]) -> Vec<String> {
    let paths: Vec<String> =
        files.iter().map(|file| format!("unet/{file}")).chain(["unet/config.json".into()]).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let [network] = &networks(&paths)[..] else { panic!("one network") };
    let shown = |path: &String| path.strip_prefix("unet/").unwrap().to_string();
    let files = |files: &[String]| files.iter().map(shown).collect::<Vec<_>>().join(" ");
    let variant = |variant: &denoise::model_files::Variant| {
        format!("{}={}{}", variant.name, files(&variant.files), variant.index.as_ref().map_or(String::new(), shown))
    };
    network.variants.iter().map(variant).collect()
}

#[test]
fn weights_by_all_their_names() {
    const NAME: &str = "diffusion_pytorch_model";
    for variant in ["fp16", "bf16", "fp32", "ema", "non_ema", "something"] {
        let file = format!("{NAME}.{variant}.safetensors");
        assert_eq!(variants(&[&file]), [format!("{variant}={file}")]);
    }
    assert_eq!(variants(&["model.safetensors"]), ["=model.safetensors"]);
    assert_eq!(variants(&["my-unet.safetensors"]), ["my-unet=my-unet.safetensors"]);
    let all = [
        "diffusion_pytorch_model.non_ema.safetensors",
        "diffusion_pytorch_model.fp16.safetensors",
        "model.safetensors",
        "diffusion_pytorch_model.safetensors",
    ];
    let expected = [
        "=diffusion_pytorch_model.safetensors",
        "fp16=diffusion_pytorch_model.fp16.safetensors",
        "non_ema=diffusion_pytorch_model.non_ema.safetensors",
    ];
    assert_eq!(variants(&all), expected);
}

#[test]
fn shards_with_and_without_an_index() {
    let plain =
        ["diffusion_pytorch_model-00002-of-00002.safetensors", "diffusion_pytorch_model-00001-of-00002.safetensors"];
    let expected = format!("={} {}", plain[1], plain[0]);
    assert_eq!(variants(&plain), std::slice::from_ref(&expected));
    assert_eq!(variants(&[plain[0], plain[1], "diffusion_pytorch_model.safetensors.index.json"]), [expected]);
    // Of two models that were saved in one folder the one in shards counts, if it is whole.
    let index = "diffusion_pytorch_model.safetensors.index.json";
    let both = [plain[0], plain[1], "diffusion_pytorch_model.safetensors", index];
    assert_eq!(variants(&both), [format!("={} {}", plain[1], plain[0])]);
    assert_eq!(variants(&both[1..]), ["=diffusion_pytorch_model.safetensors"]);
    for shard in [
        "diffusion_pytorch_model-0000N-of-00002.fp16.safetensors",
        "diffusion_pytorch_model.fp16-0000N-of-00002.safetensors",
    ] {
        let (one, two) = (shard.replace('N', "1"), shard.replace('N', "2"));
        assert_eq!(variants(&[&one, &two]), [format!("fp16={one} {two}")]);
        for index in [
            "diffusion_pytorch_model.safetensors.index.fp16.json",
            "diffusion_pytorch_model.fp16.safetensors.index.json",
        ] {
            // It then says which shard is missing.
            assert_eq!(variants(&[&one, index]), [format!("fp16={index}")]);
        }
    }
    let problem =
        found(&["unet/config.json", "unet/diffusion_pytorch_model-00001-of-00003.safetensors"]).problem.unwrap();
    assert!(problem.contains("Some of its shards are missing"), "{problem}");
}

#[test]
fn a_pipeline_and_what_belongs_to_it() {
    for root in ["", "my-model/", "a/b/"] {
        let path = |path: &str| format!("{root}{path}");
        let files = [
            path("model_index.json"),
            path("card.json"),
            path("scheduler/scheduler_config.json"),
            path("unet/config.json"),
            path("unet/diffusion_pytorch_model.safetensors"),
            path("vae/config.json"),
            path("vae/diffusion_pytorch_model.safetensors"),
        ];
        let found = networks(&files.iter().map(String::as_str).collect::<Vec<_>>());
        let [network] = &found[..] else { panic!("one network, not {found:?}") };
        assert_eq!(network.folder, path("unet"));
        assert_eq!(network.scheduler, Some(path("scheduler/scheduler_config.json")));
        assert_eq!(network.card, Some(path("card.json")));
    }
    let bare = networks(&["config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json"]);
    assert_eq!((&bare[0].folder[..], bare[0].scheduler.as_deref()), ("", Some("scheduler_config.json")));
}

#[test]
fn networks_from_the_one_that_is_most_likely_meant() {
    let files =
        |folder: &str| [format!("{folder}/config.json"), format!("{folder}/diffusion_pytorch_model.safetensors")];
    let folders = ["unet_ema", "checkpoint-500/unet", "checkpoint-1000/unet_ema", "checkpoint-1000/unet", "unet"];
    let mut paths: Vec<String> = folders.iter().flat_map(|folder| files(folder)).collect();
    paths.extend(["scheduler/scheduler_config.json".into(), "checkpoint-500/random_states_0.pkl".into()]);
    let found = networks(&paths.iter().map(String::as_str).collect::<Vec<_>>());
    let order: Vec<&str> = found.iter().map(|network| &network.folder[..]).collect();
    assert_eq!(order, ["unet", "unet_ema", "checkpoint-1000/unet", "checkpoint-1000/unet_ema", "checkpoint-500/unet"]);
    assert!(found.iter().all(|network| network.scheduler.as_deref() == Some("scheduler/scheduler_config.json")));
}

/// Of a listing nobody has read the configurations yet: what lies where a U-Net does not is none.
#[test]
fn a_listing_of_names_alone() {
    let listed = ["unet/config.json", "unet/model.safetensors", "vae/config.json", "vae/model.safetensors"]
        .map(|path| Listed { path: path.into(), class_name: None });
    let networks = find(&listed).networks;
    assert_eq!(networks.iter().map(|network| &network.folder[..]).collect::<Vec<_>>(), ["unet"]);
}

#[test]
fn what_is_not_a_model_says_what_is_there_and_what_to_do() {
    for (paths, parts) in [
        (&[][..], &["There are no files"][..]),
        (&["a.txt", "b.png"], &["There is no config.json of a U-Net, but a.txt, b.png", "as diffusers saves them"]),
        (&["vae/config.json", "vae/model.safetensors"], &["vae/config.json is of a AutoencoderKL"]),
        (&["unet/config.json"], &["There are no weights beside unet/config.json, but nothing"]),
        (&["config.json", "notes.txt"], &["There are no weights beside config.json, but notes.txt"]),
        (
            &["unet/config.json", "unet/diffusion_pytorch_model.bin"],
            &[
                "unet/diffusion_pytorch_model.bin has the weights as a pickle",
                "torch.load('diffusion_pytorch_model.bin'",
                "save_file",
            ],
        ),
        (&["config.json", "last.ckpt"], &["last.ckpt has the weights as a pickle", "d.get('state_dict', d)"]),
    ] {
        let Found { networks, problem } = found(paths);
        let problem = problem.unwrap_or_else(|| panic!("{paths:?} is no model, not {networks:?}"));
        for part in parts {
            assert!(problem.contains(part), "«{part}» is not in: {problem}");
        }
    }
}

#[test]
fn what_a_configuration_is_of() {
    assert_eq!(class_of(r#"{"_class_name": "AutoencoderKL"}"#).as_deref(), Some("AutoencoderKL"));
    assert_eq!(class_of(r#"{"block_channels": [1]}"#).as_deref(), Some("UNet2DModel"), "the oldest do not say");
    assert_eq!(class_of(r#"{"model_type": "clip"}"#).as_deref(), Some("clip"));
    assert_eq!(class_of("\u{feff}{\"_class_name\": \"VQModel\"}").as_deref(), Some("VQModel"));
    assert_eq!(class_of(r#"{"architectures": []}"#).as_deref(), Some("model of another kind"));
    assert_eq!(class_of("{").as_deref(), None);
}

#[test]
fn candidates_are_what_would_be_found() {
    let paths = candidates();
    assert!(paths.len() < 100);
    assert!(paths.contains(&"classifier/config.json".into()));
    for path in paths.iter().filter(|path| path.contains("safetensors")) {
        if path.starts_with("classifier/") {
            let found = networks(&["config.json", "model.safetensors", "classifier/config.json", path]);
            assert_eq!(found[0].classifier.as_ref().unwrap().weights.files, std::slice::from_ref(path));
            continue;
        }
        let folder = if path.starts_with("unet/") { "unet/config.json" } else { "config.json" };
        let found = networks(&[path, folder]);
        assert_eq!(found[0].variants.len(), 1, "{path}");
    }
}

#[test]
fn a_classifier_belongs_to_the_network_that_it_lies_beside() {
    const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
    let classifier = |paths: &[&str], network: &str| {
        let of: Vec<String> = paths.iter().map(|path| format!("{path}/{WEIGHTS}")).collect();
        let mut all: Vec<String> = paths.iter().map(|path| format!("{path}/config.json")).collect();
        all.extend(of);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let found = networks(&all).into_iter().find(|found| found.folder == network).unwrap();
        found.classifier.map(|found| (found.config, found.weights.files))
    };
    let expected = |folder: &str| Some((format!("{folder}/config.json"), vec![format!("{folder}/{WEIGHTS}")]));
    assert_eq!(classifier(&["unet", "classifier"], "unet"), expected("classifier"));
    assert_eq!(classifier(&["a/unet", "a/classifier", "b/unet"], "a/unet"), expected("a/classifier"));
    assert_eq!(classifier(&["a/unet", "a/classifier", "b/unet"], "b/unet"), None);
    assert_eq!(
        classifier(&["run/checkpoint-5/unet", "run/classifier"], "run/checkpoint-5/unet"),
        expected("run/classifier")
    );
    // A configuration without weights is no classifier yet.
    let found = networks(&["unet/config.json", &format!("unet/{WEIGHTS}"), "classifier/config.json"]);
    assert!(found[0].classifier.is_none());
}

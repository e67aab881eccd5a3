//! The order in which images are seen.

use denoise::epochs::Epochs;
use denoise::random::Generator;

#[test]
fn an_epoch_is_a_permutation_cut_into_batches() {
    let mut epochs = Epochs::new(10, 3).unwrap();
    assert_eq!((epochs.batches(), epochs.epoch()), (3, 0));
    let (mut generator, mut expected) = (Generator::new(5), Generator::new(5));
    for epoch in 1..=4 {
        let order = expected.randperm(10);
        for batch in order.chunks_exact(3) {
            assert_eq!(epochs.next_batch(&mut generator), batch);
            assert_eq!(epochs.epoch(), epoch);
        }
    }
    assert!(generator.state() == expected.state());
    let mut whole = Epochs::new(4, 4).unwrap();
    let mut batch = whole.next_batch(&mut generator).to_vec();
    batch.sort_unstable();
    assert_eq!(batch, [0, 1, 2, 3]);
}

#[test]
fn a_run_that_is_taken_up_again_sees_the_same() {
    for pause in 0..9 {
        let (mut epochs, mut generator) = (Epochs::new(11, 4).unwrap(), Generator::new(8));
        for _ in 0..pause {
            epochs.next_batch(&mut generator);
            generator.randn(3); // a step draws more than the order
        }
        let mut restored = Epochs::from_state(&epochs.state(), 11, 4).unwrap();
        let mut restored_generator = Generator::from_state(&generator.state()).unwrap();
        for _ in 0..9 {
            assert_eq!(epochs.next_batch(&mut generator), restored.next_batch(&mut restored_generator), "{pause}");
            assert_eq!(epochs.epoch(), restored.epoch());
            assert_eq!(generator.randn(3), restored_generator.randn(3));
        }
    }
}

#[test]
fn what_cannot_be_is_said() {
    let refused = |result: denoise::Result<Epochs>, why: &str| {
        let error = result.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(why), "{error:?} does not say {why:?}");
    };
    refused(Epochs::new(3, 0), "A batch of 0 cannot be made of 3 images");
    refused(Epochs::new(3, 4), "A batch of 4 cannot be made of 3 images");
    refused(Epochs::new(0, 1), "of 0 images");
    let (mut epochs, mut generator) = (Epochs::new(11, 4).unwrap(), Generator::new(8));
    epochs.next_batch(&mut generator);
    let state = epochs.state();
    refused(Epochs::from_state(&state, 12, 4), "goes over 11 images in batches of 4");
    refused(Epochs::from_state(&state, 11, 2), "over 11 in batches of 2");
    refused(Epochs::from_state(&state[..31], 11, 4), "damaged");
    refused(Epochs::from_state(&state[..32], 11, 4), "0 bytes");
    for at in 0..state.len() {
        for byte in [0, 1, 0xff] {
            let mut state = state.clone();
            state[at] = byte;
            if let Ok(mut epochs) = Epochs::from_state(&state, 11, 4) {
                epochs.next_batch(&mut Generator::new(0)); // whatever it is, it goes on
            }
        }
    }
}

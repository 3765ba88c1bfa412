//! What only cards show: gradients that the cards sum themselves.
//!
//! `LITHOBURN_TEST_DEVICE=cuda` runs it on the first two Hopper cards, if NCCL is found.

use lithoburn_models::hopper::is_hopper;
use lithoburn_pool::{DeviceName, choose};
use lithoburn_ranks::transfer::has_transport;
use lithoburn_testing::Need;

use super::*;

fn two_cards() -> Option<[Device; 2]> {
    let asked = std::env::var("LITHOBURN_TEST_DEVICE").is_ok_and(|name| name == "cuda");
    let card = |index| choose(DeviceName::Cuda(Some(index))).ok().map(|chosen| chosen.device);
    let cards = if asked { [card(0)?, card(1)?] } else { return None };
    cards.iter().all(|card| has_transport(card) && is_hopper(card)).then_some(cards)
}

/// Trains on cards; an error if something is slower than it could be.
fn fast_run(config: &TrainConfig, cards: &[Device], out: &Path) -> Trained {
    let mut slow = None;
    let mut watch = |news: News| {
        match news {
            News::LayerByLayer(why) | News::ThroughHost(why) => slow = Some(why.to_string()),
            _ => {}
        }
        true
    };
    let trained = train(config, &kernels(), cards, out, &mut watch).expect("trains");
    assert_eq!(slow, None);
    trained
}

#[test]
fn two_cards_train_as_one() {
    let why = "LITHOBURN_TEST_DEVICE is not cuda, or there are no two Hopper cards with NCCL";
    let Some(cards) = Need::Cards.met(two_cards(), why) else { return };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let network = Network::NeuralIlt(NeuralIltConfig::fast());
    let generator = Network::GanOpc(GanOpcConfig::default());
    let common = TrainConfig { network, bf16: true, batch: 8, steps: 6, ..tiny() };
    let adversarial =
        Adversarial { labels: 8, discriminator: vec![8, 8], ..Adversarial::default() };
    let gan = TrainConfig { network: generator, adversarial: Some(adversarial), ..common.clone() };
    for (config, name) in [(common, "cards-fast"), (gan, "cards-gan")] {
        let outs = ["one", "two", "again"].map(|which| folder(&format!("{name}-{which}")));
        let one = fast_run(&config, &cards[..1], &outs[0]);
        let two = fast_run(&config, &cards, &outs[1]);
        let again = fast_run(&config, &cards, &outs[2]);
        assert_eq!(two.hash, again.hash, "{name}: two runs on the same cards");
        let off = distance(&weights_in(&outs[0]), &weights_in(&outs[1]));
        println!("{name}: weights of two cards are off one card's by {off:.1e} of their size");
        // Six steps of Adam with a step size below 5e-4; wrong sums would be off by as much as the weights moved, some 1e-2. Cards round what they
        // tell each other to bf16, and Adam makes a small number's sign as large as a large one's: 7e-4 and 8e-4 on two H200s.
        assert!(off < 2e-3, "{name}: {off}");
        // The discriminator's layers multiply in bf16, and what it thinks of a mask is a part of the loss.
        let tolerance = if config.adversarial.is_some() { 2e-2 } else { 1e-3 };
        for (a, b) in one.records.iter().zip(&two.records) {
            let off = (a.loss_nm2 - b.loss_nm2).abs() / a.loss_nm2;
            let (one, two) = (a.loss_nm2, b.loss_nm2);
            assert!(off < tolerance, "{name}, step {}: {one} vs {two}", a.step);
        }
    }
}

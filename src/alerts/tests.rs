use super::*;
use crate::portal::tests::Scene as Given;
use crate::store::Facts;

#[tokio::test]
async fn what_the_operator_disabled_is_no_news_and_an_uninstallation_is() {
    let given = Given::new().await;
    let portals = Arc::new(Portals::default());
    let scene = Scene { portals: portals.clone(), custody: given.custody.clone() };
    let seen = |disabled: bool, uninstalled: bool| {
        let facts = Facts { disabled, uninstalled, ..Facts::default() };
        portals.put(given.portal("acme", "https://acme.lan", facts));
        let about = |it: &Sighting| it.subject.portal() == Some("acme");
        scene.look().into_iter().find(about).map(|it| (it.condition.word(), it.code))
    };
    assert_eq!(seen(false, false), Some(("connected", None)));
    assert_eq!(seen(false, true), Some(("dead", Some("uninstalled".to_owned()))));
    assert_eq!(seen(true, false), None);
    assert_eq!(seen(true, true), None, "it was told before, or the operator knows better");
}

use plimsoll_agent::{
    host,
    probe::{Options, Probe},
};
fn main() {
    let facts = host::read::facts();
    println!("{facts:#?}");
    let plan = host::plan(&facts, host::PlanOptions::default());
    let probe = match Probe::load(&plan, Options::default()) {
        Ok(p) => p,
        Err(e) => {
            let mut s: &dyn std::error::Error = &e;
            loop {
                println!("{s} {s:?}");
                match s.source() {
                    Some(n) => s = n,
                    None => break,
                }
            }
            return;
        }
    };
    for r in probe.reports() {
        println!("{} {}", r.name, r.outcome);
    }
    println!("{:?}", probe.on_cpu());
}

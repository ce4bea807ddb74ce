//! Decides what goes wrong, and sees to it that everything does, once.

/// The choices of one run: those of the run before up to a point, then the next one there, then no
/// more faults.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    prefix: Vec<usize>,
    /// What was chosen in this run, of how many.
    trail: Vec<(usize, usize)>,
    faults_left: usize,
    /// What happened, for whoever reads a failure.
    pub(crate) story: Vec<String>,
}

impl Oracle {
    pub(crate) fn first(faults: usize) -> Self {
        Self { faults_left: faults, ..Self::default() }
    }

    /// One of `names`; the first is what happens when nothing goes wrong.
    pub(crate) fn choose<'n>(&mut self, place: &str, names: &[&'n str]) -> &'n str {
        let chosen = match self.prefix.get(self.trail.len()) {
            Some(chosen) => *chosen,
            None => 0,
        };
        let of = if self.faults_left == 0 { 1 } else { names.len() };
        self.trail.push((chosen, of));
        if chosen > 0 {
            self.faults_left -= 1;
        }
        self.story.push(format!("{place}: {}", names[chosen]));
        names[chosen]
    }

    /// From now on nothing goes wrong and nothing is noted; gives back what [`Oracle::resume`] takes.
    pub(crate) fn rest(&mut self) -> (Vec<usize>, Vec<(usize, usize)>) {
        self.faults_left = 0;
        (std::mem::take(&mut self.prefix), std::mem::take(&mut self.trail))
    }

    /// Goes on after a rest.
    pub(crate) fn resume(&mut self, (prefix, trail): (Vec<usize>, Vec<(usize, usize)>)) {
        self.prefix = prefix;
        self.trail = trail;
    }

    /// The oracle of the next run; `None` when all were run.
    pub(crate) fn next(self, faults: usize) -> Option<Self> {
        let mut trail = self.trail;
        while let Some((chosen, of)) = trail.pop() {
            if chosen + 1 < of {
                let mut prefix: Vec<_> = trail.iter().map(|(chosen, _)| *chosen).collect();
                prefix.push(chosen + 1);
                return Some(Self { prefix, ..Self::first(faults) });
            }
        }
        None
    }
}

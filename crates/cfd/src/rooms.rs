//! Connected pieces of the fluid: each needs something that sets its pressure, and its temperature.

use crate::{Error, system::System};

/// A connected piece of the fluid.
#[derive(Debug, Default)]
pub(crate) struct Room {
    pub(crate) cells: Vec<usize>,
    /// Whether an outlet sets its pressure.
    pub(crate) outlet: bool,
    /// Whether something sets its temperature.
    pub(crate) warmed: bool,
    /// What the given velocities carry out, and the sum of sizes of what they carry.
    leaving: f64,
    passing: f64,
}

impl System {
    /// Connected pieces of the fluid.
    pub(crate) fn rooms(&self) -> Vec<Room> {
        let mut faces_of = vec![Vec::with_capacity(4); self.layout.cells];
        self.neighbours.sides().for_each(|(f, c, _)| faces_of[c].push(f));
        let warmed = self.warmed();
        let mut seen = vec![false; self.layout.cells];
        let mut rooms = Vec::new();
        for start in (0..self.layout.cells).filter(|&c| self.cut.live_cells[c]) {
            if !seen[start] {
                let mut room = self.room(start, &faces_of, &mut seen);
                room.warmed = room.cells.iter().any(|&c| warmed[c]);
                rooms.push(room);
            }
        }
        rooms
    }

    fn room(&self, start: usize, faces_of: &[Vec<usize>], seen: &mut [bool]) -> Room {
        let mut room = Room::default();
        let mut queue = vec![start];
        seen[start] = true;
        while let Some(c) = queue.pop() {
            room.cells.push(c);
            for &f in faces_of[c].iter().filter(|&&f| self.cut.live_faces[f]) {
                match self.neighbours.of(f) {
                    [Some(a), Some(b)] => {
                        let next = if a == c { b } else { a };
                        if !std::mem::replace(&mut seen[next], true) {
                            queue.push(next);
                        }
                    }
                    [before, _] => {
                        let sign = if before.is_some() { 1.0 } else { -1.0 };
                        let flux = sign * self.cut.metric.open[f] * self.fixed[f];
                        room.outlet |= self.free[f];
                        room.leaving += flux;
                        room.passing += flux.abs();
                    }
                }
            }
        }
        room
    }

    /// Cells to which a body or a side gives a temperature.
    fn warmed(&self) -> Vec<bool> {
        let mut warmed = vec![false; self.layout.cells];
        let Some((transport, walls)) = &self.heat else { return warmed };
        for (c, warm) in warmed.iter_mut().enumerate() {
            *warm = walls.body[c].is_some() && self.cut.metric.cell_wall[c] > 0.0;
        }
        for link in transport.links.iter().filter(|link| link.slot.is_some()) {
            if let [Some(i), None] | [None, Some(i)] = link.rows() {
                let open = self.cut.live_faces[link.carriers[0].0 as usize];
                warmed[i - self.layout.temperature(0)] |= open;
            }
        }
        warmed
    }

    pub(crate) fn check_balance(&self, room: &Room) -> Result<(), Error> {
        if room.outlet || room.leaving.abs() <= 1e-6 * room.passing {
            return Ok(());
        }
        let [x, y] = self.grid().centre(room.cells[0]);
        Err(Error::case(format!(
            "sides: {:.6e} enters and {:.6e} leaves the fluid around ({x:.3}, {y:.3}), which has no outlet; \
             make the profiles balance, or make one side an outlet",
            0.5 * (room.passing - room.leaving),
            0.5 * (room.passing + room.leaving)
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{Case, Grid, Profile, Side, Sides};

    fn said(west: Profile, east: Profile) -> String {
        let Ok(grid) = Grid::uniform([0.0, 1.0], [0.0, 1.0], 8, 8) else { return String::new() };
        let sides = Sides::new(Side::stream(west), Side::stream(east), Side::Slip, Side::Slip);
        let solved = Case::new("box", grid, sides, 0.1).solve();
        solved.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_enters_a_closed_box_has_to_leave_it() {
        let error = said(Profile::Uniform(1.0), Profile::Uniform(0.5));
        assert!(error.contains("enters") && error.contains("no outlet"), "{error}");
        assert_eq!(said(Profile::Uniform(1.0), Profile::Uniform(1.0)), "");
    }

    #[test]
    fn a_profile_that_is_no_number_somewhere_is_named_with_its_side() {
        let hole = Profile::Function(Arc::new(|y| if y > 0.9 { f64::NAN } else { 1.0 }));
        let error = said(hole, Profile::Uniform(1.0));
        assert!(error.contains("west side") && error.contains("NaN"), "{error}");
    }
}
